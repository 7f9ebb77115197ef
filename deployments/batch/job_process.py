"""A batch job's Ray lives in a process of its own: Ray reads its environment once, when it is first imported."""

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
from deployments.machine.valkey import last_lines
from recsys.config import Ports, Settings
from recsys.errors import RuntimeFailure
from recsys.files import Drafts, replace


class Cluster(Settings):
    """Where a job runs."""

    address: str | None
    """`host:port` of a cluster's control store; None: a Ray of its own on this machine, which ends with the job."""
    cpus: int
    """Cores of a Ray of its own."""
    folder: Path | None = None
    """Of the files of a Ray of its own."""


@contextmanager
def cluster_of(home: Path, address: str | None, cpus: int) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """The cluster and the environment for a job on it.

    The token of the platform that runs in `home` is known; another cluster's is read from Ray's own variables
    (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH). A Ray of its own is on loopback, with a token of its own, one at a time in a
    home.
    """
    if address is not None:
        platform = read_instance(home)
        ours = platform is not None and address == f"127.0.0.1:{platform.ports.gcs}"
        env = ray_environment(platform, os.environ) if platform is not None and ours else dict(os.environ)
        if address.startswith(("127.", "localhost:")):
            # Ray would look for it at this machine's address in the network: see `machine/environment.py`.
            env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        yield Cluster(address=address, cpus=cpus), env
        return
    place = home / "batch"  # beside the platform, which may run meanwhile
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


@contextmanager
def job(module: str, env: dict[str, str], log: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The module's standard input, to be closed, and output. RuntimeFailure with its last words when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - every part is ours
            [sys.executable, "-m", module], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a pipe was asked for")
    failed = None
    try:
        yield process.stdin, process.stdout
    except BrokenPipeError as error:  # it ended early, and says why
        failed = error
    except BaseException:
        process.terminate()
        raise
    finally:
        process.stdout.close()
        code = process.wait()
    if code or failed:
        raise RuntimeFailure(f"{last_lines(log)} (all of it: {log})")
