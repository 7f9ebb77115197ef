"""Starting Ray on this machine alone, with explicit addresses and ports only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from deployments.machine.instance import Instance
from deployments.machine.valkey import last_lines
from recsys.errors import RuntimeFailure


def start_ray(
    instance: Instance, env: Mapping[str, str], *, num_cpus: int | None, object_store_bytes: int, timeout_s: float = 120
) -> None:
    """Returns when Ray is up. `num_cpus`: cores that Ray hands out, None for all. RuntimeFailure if not."""
    log = instance.log_dir / "ray-start.log"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    command += _options(instance, object_store_bytes)
    command += [] if num_cpus is None else [f"--num-cpus={num_cpus}"]
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
    """Does not wait: it imports while Ray starts, and workers wait for it, or start without it."""
    with (instance.log_dir / "forking.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.ray_internals.forking.server"], env=dict(env), stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    process.returncode = 0  # it outlives us on purpose, and Popen would complain


def _options(instance: Instance, object_store_bytes: int) -> list[str]:
    ports = instance.ports
    return [
        "--node-ip-address=127.0.0.1",
        f"--port={ports.gcs}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports.dashboard}",
        f"--metrics-export-port={ports.metrics}",
        # Any free port: a fixed one that another Ray holds costs four seconds of retries before Ray goes on without.
        "--dashboard-agent-listen-port=0",
        # Likewise, free ones instead of 10002-19999, where two Rays on one machine meet.
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--object-store-memory={object_store_bytes}",
        # Its own folder, so that /tmp/ray and its ray_current_cluster stay as they are.
        f"--temp-dir={instance.ray_dir}",
        "--include-log-monitor=false",  # it forwards worker output to a driver, and there is none
        "--no-monitor",  # the autoscaler of machines
        "--disable-usage-stats",
    ]
