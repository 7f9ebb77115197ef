"""Serve's control loop hurries while there is something to deploy, and rests else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.ray_internals.control_loop import BUSY_S, hasten, pause_s


@pytest.mark.parametrize(
    ("applications", "deployments", "busy"),
    [
        ((), (), True),
        (("DEPLOYING",), (), True),
        (("RUNNING",), ("HEALTHY", "UPDATING"), True),
        (("RUNNING",), ("UPSCALING", "HEALTHY"), True),
        (("RUNNING", "DELETING"), ("HEALTHY",), True),
        (("RUNNING",), ("HEALTHY",), False),
        (("UNHEALTHY",), ("UNHEALTHY",), False),
    ],
)
def test_it_hurries_while_something_is_deployed_or_scaled(applications, deployments, busy) -> None:
    """And where nothing is yet, for then something is about to be; never slower than it is set."""
    assert pause_s(applications, deployments, 0.5) == (BUSY_S if busy else 0.5)
    assert pause_s(applications, deployments, 0.02) == 0.02


def test_the_controller_of_ray_goes_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Serve's own statuses, behind each of its steps."""
    from ray.serve._private import controller  # noqa: PLC0415 - few tests need it
    from ray.serve._private.common import DeploymentStatus  # noqa: PLC0415
    from ray.serve.schema import ApplicationStatus  # noqa: PLC0415

    module: Any = controller

    async def step(self: Any, start_time: float, recovering_timeout: float, num_loops: int) -> None:
        self.loops += 1

    monkeypatch.setattr(module, "CONTROL_LOOP_INTERVAL_S", 0.5)
    monkeypatch.setattr(module.ServeController, "run_control_loop_step", step)
    hasten()
    told = {"recsys": SimpleNamespace(status=ApplicationStatus.RUNNING)}
    deployments = [SimpleNamespace(status=DeploymentStatus.HEALTHY)]
    one = object.__new__(module.ServeController)
    one.loops = 0
    one.application_state_manager = SimpleNamespace(list_app_statuses=lambda: told)
    one.deployment_state_manager = SimpleNamespace(get_deployment_statuses=lambda ids=None: deployments)
    paces = []
    for state in ("HEALTHY", "UPSCALING", "HEALTHY"):
        deployments[0].status = DeploymentStatus(state)
        asyncio.run(one.run_control_loop_step(0.0, 1.0, 1))
        paces.append((module.CONTROL_LOOP_INTERVAL_S, one.loops))
    assert paces == [(0.5, 1), (0.1, 2), (0.5, 3)]
