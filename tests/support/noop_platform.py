"""What a platform of `noop_app` leaves behind, for the tests that start one or see it refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployments.machine.instance import instance_id, runtime_dir, state_file
from deployments.machine.processes import instance_processes
from recsys.config.platform import Ports

PORTS = tuple(Ports.model_fields)
WriteConfig = Callable[[str], Path]


def nothing_is_left(home: Path) -> bool:
    return not (instance_processes(instance_id(home)) or runtime_dir(home).exists() or state_file(home).exists())
