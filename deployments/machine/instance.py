"""A running platform: its id, the places of its files and sockets, and its ports."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recsys.config.base import Settings
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure
from recsys.files import replace

LOOPBACK = "127.0.0.1"
_HOME = "home"
"""File in the runtime folder with the path of the platform's home."""


class Instance(Settings):
    """The content of `<home>/run/instance.json`."""

    id: str
    """The mark of its processes. A home always has the same id."""
    home: Path
    config_file: Path
    api_url: str
    certificate: Path | None = None
    """The API's certificate. None: it speaks plain HTTP."""
    dashboard_url: str
    redis_url: str
    """It may contain a password: only the owner can read the file."""
    embedded_redis: bool
    """Whether the Redis is the Valkey that `up` starts and `down` stops."""
    runtime_dir: Path
    """Folder of sockets, token and Ray's session. Its path is short: a socket's path has less than 108 characters."""
    redis_prefix: str = "recsys"
    ports: Ports
    address: str = LOOPBACK
    """This machine's IP address, as the other machines of a cluster reach it. Loopback: there are no others."""
    joined: str | None = None
    """`host:port` of the control store of the cluster that this machine joined. None: the control store is here."""
    logging_config: dict[str, Any] | None = None
    """The logging config submitted to Serve, which does not report it."""
    pids: tuple[int, ...] = ()
    """Processes at the end of `up`, for information. `down` finds processes by their mark."""

    @property
    def in_cluster(self) -> bool:
        """Whether it is one machine of a cluster, started by `recsys node up`, or has a machine to itself."""
        return self.address != LOOPBACK

    @property
    def control_store(self) -> str:
        """`host:port` of the cluster's control store, which batch jobs connect to."""
        return self.joined or f"{self.address}:{self.ports.gcs}"

    @property
    def token_file(self) -> Path:
        """File with Ray's authentication token, which the dashboard's page requires."""
        return self.runtime_dir / "token"

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    @property
    def valkey_socket(self) -> Path:
        return self.runtime_dir / "valkey"

    @property
    def fork_socket(self) -> Path:
        return self.runtime_dir / "fork"

    @property
    def ray_dir(self) -> Path:
        return self.runtime_dir / "ray"

    @property
    def ray_logs(self) -> Path:
        return self.ray_dir / "session_latest" / "logs"

    @property
    def haproxy(self) -> Path:
        """The script that starts HAProxy. It is not in /tmp, which may be mounted noexec."""
        return self.home / "run" / "haproxy"

    @property
    def haproxy_dir(self) -> Path:
        """Folder of HAProxy's files. In a cluster all machines have the same path, for Serve hands them the head's."""
        if not self.in_cluster:
            return self.runtime_dir
        return self.runtime_dir.with_name(hashlib.sha256(self.control_store.encode()).hexdigest()[:8])

    @property
    def tls_file(self) -> Path:
        """The API's certificate and key in HAProxy's format."""
        return self.runtime_dir / "tls.pem"

    @property
    def log_dir(self) -> Path:
        return self.home / "logs"

    def write(self) -> None:
        """Write the state file, and the home's path into the runtime folder."""
        replace(state_file(self.home), self.model_dump_json(indent=2).encode(), mode=0o600)
        replace(self.runtime_dir / _HOME, str(self.home).encode(), mode=0o600)

    def prepare(self) -> None:
        """Create the folders, and empty those of sockets. Raises RuntimeFailure when it belongs to another user."""
        _private_dir(self.runtime_dir.parent)
        for folder in dict.fromkeys((self.runtime_dir, self.haproxy_dir)):
            shutil.rmtree(folder, ignore_errors=True)
            _private_dir(folder)
        self.ray_dir.mkdir()
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.chmod(0o700)  # Ray leaves its folders open to everyone

    def remove(self) -> None:
        """Delete the state file, the sockets and the token. Ray's logs of the session move to `<home>/logs/ray`."""
        _keep_logs(self.ray_logs, self.log_dir / "ray")
        shutil.rmtree(self.runtime_dir, ignore_errors=True)
        shutil.rmtree(self.haproxy_dir, ignore_errors=True)
        self.haproxy.unlink(missing_ok=True)
        state_file(self.home).unlink(missing_ok=True)


def instance_id(home: Path) -> str:
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]


def runtime_root() -> Path:
    """Return the folder with the runtime folders of all platforms of this user."""
    return Path("/tmp") / f"recsys-{os.getuid()}"  # noqa: S108 - its mode is 0700, and its owner is checked


def runtime_dir(home: Path) -> Path:
    return runtime_root() / instance_id(home)


def state_file(home: Path) -> Path:
    return home / "run" / "instance.json"


def instances() -> list[Instance]:
    """Return this user's platforms on this machine that `up` has started and `down` has not stopped, by home."""
    written = []
    for file in runtime_root().glob(f"*/{_HOME}"):
        with suppress(RuntimeFailure, OSError):  # it has ended, or is of another release
            written.append(read_instance(Path(file.read_text())))
    return sorted((one for one in written if one is not None), key=lambda one: one.home)


def read_instance(home: Path) -> Instance | None:
    """Return what `up` wrote. None: there is nothing. Raises RuntimeFailure when it cannot be read."""
    try:
        return Instance.model_validate_json(state_file(home).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RuntimeFailure(
            f"{state_file(home)} cannot be read ({error}): remove it, then run `recsys down`"
        ) from None


def _private_dir(path: Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise RuntimeFailure(f"{path} belongs to someone else (uid {status.st_uid}): have it removed")
    path.chmod(0o700)


def _keep_logs(logs: Path, kept: Path) -> None:
    if logs.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(logs.resolve(), kept)
