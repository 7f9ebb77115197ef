"""Serve's control loop looks ten times a second while something is being deployed or scaled, and else as rarely as set.

What Serve starts goes through several of its loops: an actor is asked for, found, initialised and reported. With two
loops a second each of these steps waits a quarter of a second, and with ten an idle loop takes a tenth of a core.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

BUSY_S = 0.1
"""Seconds between two loops while there is something to do: Ray's own default."""
_DEPLOYMENT = frozenset({"UPDATING", "UPSCALING", "DOWNSCALING"})
_APPLICATION = frozenset({"NOT_STARTED", "DEPLOYING", "DELETING"})


def hasten() -> None:
    """From now on the controller of this process, if it becomes one, paces its loop by what there is to do."""
    from ray.serve._private import controller  # noqa: PLC0415 - not before the fork server may import Ray

    module: Any = controller
    step, at_rest_s = module.ServeController.run_control_loop_step, module.CONTROL_LOOP_INTERVAL_S

    async def run_control_loop_step(self: Any, *given: Any) -> None:
        await step(self, *given)
        applications = {info.status.value for info in self.application_state_manager.list_app_statuses().values()}
        deployments = {info.status.value for info in self.deployment_state_manager.get_deployment_statuses()}
        # The loop reads it before it rests.
        module.CONTROL_LOOP_INTERVAL_S = pause_s(applications, deployments, at_rest_s)

    module.ServeController.run_control_loop_step = run_control_loop_step


def pause_s(applications: Collection[str], deployments: Collection[str], at_rest_s: float) -> float:
    """Return the seconds until the next loop, by the statuses of applications and deployments.

    A controller without an application is about to be given one.
    """
    busy = not applications or not _APPLICATION.isdisjoint(applications) or not _DEPLOYMENT.isdisjoint(deployments)
    return min(BUSY_S, at_rest_s) if busy else at_rest_s
