"""Starts or stops a Serve config file in a home of its own.

    python -m load_tests.comparison.cluster up|down HOME CONFIG [stock]


The platform's own start-up does it, on ports beside its usual ones, so that one that runs already is left alone. With
`stock`, Serve gets none of the platform's settings: its own proxy, its own defaults. (Ray's workers keep the priority
that the platform gives them: at Ray's own, nice 15, the stock graph would do worse.)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

from deployments.machine import runtime
from deployments.machine.environment import ray_environment
from deployments.machine.preflight import GIB
from deployments.machine.serve_config import read_for_serve
from recsys.config.platform import Ports

PORT_SHIFT = 137
"""Added to every port that the platform has by default."""


def main() -> None:
    action, home, config, *stock = sys.argv[1:]
    ports = Ports(**{name: field.default + PORT_SHIFT for name, field in Ports.model_fields.items()})
    if stock:
        _leave_serve_as_it_comes()
    platform = runtime.Runtime(Path(home), ports, runtime.Resources(memory_needed=GIB))
    if action == "up":
        platform.up(read_for_serve(Path(config)))
    else:
        platform.down()


def _leave_serve_as_it_comes() -> None:
    def stock_environment(*args: Any) -> dict[str, str]:
        return {name: value for name, value in ray_environment(*args).items() if not name.startswith("RAY_SERVE_")}

    mock.patch.object(runtime, "ray_environment", stock_environment).start()


if __name__ == "__main__":
    main()
