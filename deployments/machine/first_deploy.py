"""The config for a Ray that has just started, and on which Serve does not run yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from deployments.machine.cluster_watch import RAYLET, name_of
from deployments.machine.instance import Instance
from deployments.machine.processes import processes_named
from deployments.machine.serve_config import for_serve
from deployments.machine.valkey import last_lines
from deployments.ray_internals.first_deploy import DEPLOYED, NAME
from recsys.errors import RuntimeFailure


def deploy_first(
    instance: Instance, env: Mapping[str, str], document: dict[str, Any], *, timeout_s: float = 120.0
) -> None:
    """Start Serve with the config file's document, and return when Serve's controller has it.

    Raises RuntimeFailure when Serve refuses it, or does not start within `timeout_s` seconds.
    """
    raylets = [process for process in processes_named(instance.id, RAYLET) if name_of(process) == RAYLET]
    raylet = str(raylets[0].pid) if raylets else ""
    log = instance.log_dir / "serve-start.log"
    command = [sys.executable, "-m", NAME, instance.control_store, instance.address, raylet]
    with log.open("wb") as errors:
        try:
            done = subprocess.run(  # noqa: S603 - every part is ours
                command, env=dict(env), input=orjson.dumps(for_serve(document)), stdout=subprocess.PIPE, stderr=errors,
                timeout=timeout_s, start_new_session=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RuntimeFailure(f"Serve did not start within {timeout_s:.0f} s: see {log}") from None
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    if not lines or lines[-1] != DEPLOYED:
        raise RuntimeFailure(
            f"Serve refused: {lines[-1] if lines else last_lines(log)} (logs: {log}, {instance.log_dir})"
        )
