"""`ray start` starts the dashboard beside the raylet with its agents, and waits for all of them at the end.

By itself it waits until the dashboard answers, two seconds of imports, before it starts the raylet, which waits for
imports of its agents as long. And the fork server hears of the raylet as soon as that is there, not from the first
worker.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from deployments.ray_internals.forking.client import announce

_STARTING = "recsys_dashboard_starting"
"""Attribute of a node: the future of its dashboard."""


def start_side_by_side() -> None:
    """From now on, a node that this process starts does so. One that joins a cluster has no dashboard."""
    from ray._private.node import Node  # noqa: PLC0415 - not before Ray itself has imported it
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET  # noqa: PLC0415 - likewise

    node: Any = Node
    start_dashboard, start_others = node.start_api_server, node.start_ray_processes

    def start_api_server(self: Any, **given: Any) -> None:
        # Workers are told the URL. The port is a fixed one, so it is known before the dashboard has it.
        self._webui_url = f"{self._ray_params.dashboard_host}:{self._ray_params.dashboard_port}"
        thread = ThreadPoolExecutor(1, "dashboard")
        vars(self)[_STARTING] = thread.submit(start_dashboard, self, **given)
        thread.shutdown(wait=False)

    def start_ray_processes(self: Any) -> None:
        starting: Future[None] | None = vars(self).pop(_STARTING, None)
        try:
            start_others(self)
            announce(self.all_processes[PROCESS_TYPE_RAYLET][0].process.pid)
        finally:
            if starting is not None:
                starting.result()

    node.start_api_server, node.start_ray_processes = start_api_server, start_ray_processes
