"""The start of Ray on this machine, with explicit addresses and ports: as a head, or joining a cluster."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from deployments.machine.instance import Instance
from deployments.machine.valkey import last_lines
from recsys.errors import RuntimeFailure


def start_ray(
    instance: Instance,
    env: Mapping[str, str],
    *,
    num_cpus: int | None,
    object_store_bytes: int,
    more: Sequence[str] = (),
    timeout_s: float = 120,
) -> None:
    """Start Ray, and return when it is up. `num_cpus`: cores that Ray assigns; None: all. `more`: further options.
    Raises RuntimeFailure when it does not start within `timeout_s` seconds.
    """
    log = instance.log_dir / "ray-start.log"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *_options(instance, object_store_bytes)]
    command += _head_options(instance) if instance.joined is None else [f"--address={instance.joined}"]
    command += [*([] if num_cpus is None else [f"--num-cpus={num_cpus}"]), *more]
    with log.open("wb") as output:
        try:
            done = subprocess.run(  # noqa: S603 - every part is ours
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=timeout_s,
                start_new_session=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RuntimeFailure(f"Ray did not start within {timeout_s:.0f} s: see {log}") from None
    if done.returncode != 0:
        raise RuntimeFailure(f"Ray did not start: {last_lines(log)} (all of it: {log}, {instance.log_dir / 'ray'})")


def start_fork_server(instance: Instance, env: Mapping[str, str]) -> None:
    """Start the fork server without waiting. It imports while Ray starts. Workers wait for it, or start without it."""
    with (instance.log_dir / "forking.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.ray_internals.forking.server"], env=dict(env), stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    process.returncode = 0  # it is meant to outlive this process; otherwise Popen warns


def _head_options(instance: Instance) -> list[str]:
    return [
        "--head",
        f"--port={instance.ports.gcs}",
        f"--dashboard-host={instance.address}",
        f"--dashboard-port={instance.ports.dashboard}",
    ]


def _options(instance: Instance, object_store_bytes: int) -> list[str]:
    return [
        f"--node-ip-address={instance.address}",
        f"--metrics-export-port={instance.ports.metrics}",
        # Any free port: with a busy one Ray retries for four seconds and then continues without it.
        "--dashboard-agent-listen-port=0",
        # Any free ports, instead of 10002-19999, which two Rays on one machine would share.
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--object-store-memory={object_store_bytes}",
        # A folder of its own, so that /tmp/ray and its ray_current_cluster do not change.
        f"--temp-dir={instance.ray_dir}",
        "--include-log-monitor=false",  # it forwards worker output to a driver, and there is no driver
        "--no-monitor",  # the autoscaler of cluster nodes
        "--disable-usage-stats",
    ]
