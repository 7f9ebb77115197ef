"""What a platform of `noop_app` starts with and leaves behind, for the tests that start one or see it refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployments.machine.instance import instance_id, runtime_dir, state_file
from deployments.machine.preflight import GIB
from deployments.machine.processes import instance_processes
from deployments.machine.runtime import Resources
from recsys.config.platform import Ports

PORTS = tuple(Ports.model_fields)
CODE = Path(__file__).parent
"""Where replicas find `noop_app`: their PYTHONPATH."""
RESOURCES = Resources(num_cpus=2, object_store_bytes=100 << 20, memory_needed=GIB)
WriteConfig = Callable[[str], Path]


def write_noop_config(file: Path, port: int, builder: str) -> Path:
    """`port`: of the API. `builder`: a function of `noop_app`."""
    file.write_text(
        f"proxy_location: HeadOnly\n"
        f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
        f"applications: [{{name: noop, route_prefix: /, import_path: 'noop_app:{builder}', args: {{}}}}]\n"
    )
    return file


def nothing_is_left(home: Path) -> bool:
    return not (instance_processes(instance_id(home)) or runtime_dir(home).exists() or state_file(home).exists())
