"""One running platform: what it is called, where its files and sockets lie, which ports are its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recsys.config import Ports, Settings
from recsys.errors import RuntimeFailure
from recsys.files import replace

_HOME = "home"
"""File in the runtime folder that says whose it is."""


class Instance(Settings):
    """What `<home>/run/instance.json` says."""

    id: str
    """Marks the processes; always the same for the same home."""
    home: Path
    config_file: Path
    api_url: str
    certificate: Path | None = None
    """The API's, where it speaks TLS."""
    dashboard_url: str
    redis_url: str
    """Contains the password if the config file's does: the file is for its owner only."""
    embedded_redis: bool
    """Whether the Redis is the Valkey that `up` starts and `down` stops."""
    runtime_dir: Path
    """Sockets, token and Ray's session: short, since a socket's path must stay below 108 characters."""
    redis_prefix: str = "recsys"
    ports: Ports
    logging_config: dict[str, Any] | None = None
    """Of all applications, as it was handed to Serve, which tells it to nobody."""
    pids: tuple[int, ...] = ()
    """What ran when `up` was done. For the reader: `down` goes by the mark."""

    @property
    def token_file(self) -> Path:
        """Ray's authentication token; the dashboard's page asks for it."""
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
        """Not in /tmp, where a careful administrator lets nothing be executed."""
        return self.home / "run" / "haproxy"

    @property
    def tls_file(self) -> Path:
        """The API's certificate and key, as HAProxy reads them."""
        return self.runtime_dir / "tls.pem"

    @property
    def log_dir(self) -> Path:
        return self.home / "logs"

    def write(self) -> None:
        replace(state_file(self.home), self.model_dump_json(indent=2).encode(), mode=0o600)
        replace(self.runtime_dir / _HOME, str(self.home).encode(), mode=0o600)

    def prepare(self) -> None:
        """Makes the folders, empty where nothing may be left of a run before. RuntimeFailure if they are not ours."""
        _private_dir(self.runtime_dir.parent)
        shutil.rmtree(self.runtime_dir, ignore_errors=True)
        _private_dir(self.runtime_dir)
        self.ray_dir.mkdir()
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.chmod(0o700)  # Ray leaves its folders open to everyone

    def remove(self) -> None:
        """Forgets the state, the sockets and the token. Ray's logs of the session go to `<home>/logs/ray`."""
        _keep_logs(self.ray_logs, self.log_dir / "ray")
        shutil.rmtree(self.runtime_dir, ignore_errors=True)
        self.haproxy.unlink(missing_ok=True)
        state_file(self.home).unlink(missing_ok=True)


def instance_id(home: Path) -> str:
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]


def runtime_root() -> Path:
    """Of all platforms of this user: each has a folder in it."""
    return Path("/tmp") / f"recsys-{os.getuid()}"  # noqa: S108 - made 0700, its owner checked


def runtime_dir(home: Path) -> Path:
    return runtime_root() / instance_id(home)


def state_file(home: Path) -> Path:
    return home / "run" / "instance.json"


def instances() -> list[Instance]:
    """What this user's `recsys up` wrote and no `down` removed, on this machine, in whichever folders; by home."""
    known = []
    for file in runtime_root().glob(f"*/{_HOME}"):
        with suppress(RuntimeFailure, OSError):  # ended meanwhile, or of another release: not the one that is asked for
            known.append(read_instance(Path(file.read_text())))
    return sorted((one for one in known if one is not None), key=lambda one: one.home)


def read_instance(home: Path) -> Instance | None:
    """What `up` wrote, None if nothing; RuntimeFailure if it cannot be read."""
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
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RuntimeFailure(f"{path} belongs to someone else (uid {found.st_uid}): have it removed")
    path.chmod(0o700)


def _keep_logs(logs: Path, kept: Path) -> None:
    if logs.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(logs.resolve(), kept)
