"""The process of a batch job. It is separate because Ray reads its environment once, when it is first imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deployments.machine.environment import ray_environment
from deployments.machine.instance import Instance, instance_id, read_instance, runtime_dir
from deployments.machine.processes import instance_processes
from deployments.machine.valkey import last_lines
from recsys.config.base import Settings
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure
from recsys.files import Drafts, replace

_TRIES = "5"
"""Tries to speak with a cluster's control store, a second apart. With Ray's 20 a wrong token is told after 20 s."""


class Cluster(Settings):
    """The Ray cluster of a job."""

    address: str | None
    """`host:port` of a cluster's control store. None: a local Ray, which ends with the job."""
    cpus: int
    """Cores of a local Ray."""
    node: str | None = None
    """The address of this machine's node of the cluster. None: Ray finds the node by itself."""
    folder: Path | None = None
    """Folder for the files of a local Ray."""


@contextmanager
def cluster_of(home: Path, address: str | None, cpus: int) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """Yield the cluster, and the environment of a job on it.

    For the platform that runs in `home`, or whose node runs here, the environment has its token. For another cluster
    Ray's own variables (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH) are kept. A local Ray listens on loopback and has its own
    token. Raises VersionError while another job has a local Ray in this home.
    """
    if address is not None:
        platform = _platform_at(home, address)
        env = dict(os.environ) if platform is None else ray_environment(platform, os.environ)
        if address.startswith(("127.", "localhost:")):
            # Otherwise Ray connects to this machine's network address: see `machine/environment.py`.
            env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        env.setdefault("RAY_NUM_REDIS_GET_RETRIES", _TRIES)
        node = platform.address if platform is not None and platform.in_cluster else None
        yield Cluster(address=address, cpus=cpus, node=node), env
        return
    place = home / "batch"  # a folder of its own: the platform may run at the same time
    own = Instance(
        id=instance_id(place), home=place, config_file=Path(), api_url="", dashboard_url="", redis_url="",
        embedded_redis=False, runtime_dir=runtime_dir(place), ports=Ports(),
    )  # fmt: skip
    with Drafts(place).alone():
        own.prepare()
        replace(own.token_file, os.urandom(32).hex().encode(), mode=0o600)
        try:
            yield Cluster(address=None, cpus=cpus, folder=own.ray_dir), ray_environment(own, os.environ)
        finally:
            own.remove()


def _platform_at(home: Path, address: str) -> Instance | None:
    """The platform of this home whose control store has this address, or this machine's node of its cluster."""
    for place in (home, *sorted((home / "nodes").glob("*"))):
        instance = read_instance(place)
        if instance is not None and instance.control_store == address and instance_processes(instance.id):
            return instance
    return None


@contextmanager
def job(module: str, env: dict[str, str], log: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Run a module. Yield its standard input, which the caller closes, and its output.

    Raises RuntimeFailure with the last lines of its log when it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - every part is ours
            [sys.executable, "-m", module], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("Popen was given pipes")
    failed = None
    try:
        yield process.stdin, process.stdout
    except BrokenPipeError as error:  # it ended early; its log has the reason
        failed = error
    except BaseException:
        process.terminate()
        raise
    finally:
        process.stdout.close()
        code = process.wait()
    if code or failed:
        raise RuntimeFailure(f"{last_lines(log)} (all of it: {log})")
