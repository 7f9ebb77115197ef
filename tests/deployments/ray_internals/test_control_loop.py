"""Serve's control loop hurries while there is something to deploy, and rests else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deployments.ray_internals.control_loop import BUSY_S, pause_s

LOOP = """
import asyncio
from types import SimpleNamespace
from ray.serve._private import controller
from ray.serve._private.common import DeploymentStatus
from ray.serve.schema import ApplicationStatus
from deployments.ray_internals.control_loop import hasten

async def step(self, start_time, recovering_timeout, num_loops):
    self.loops += 1

controller.ServeController.run_control_loop_step = step
hasten()
told = {"recsys": SimpleNamespace(status=ApplicationStatus.RUNNING)}
deployments = [SimpleNamespace(status=DeploymentStatus.HEALTHY)]
one = object.__new__(controller.ServeController)
one.loops = 0
one.application_state_manager = SimpleNamespace(list_app_statuses=lambda: told)
one.deployment_state_manager = SimpleNamespace(get_deployment_statuses=lambda ids=None: deployments)
for state in ("HEALTHY", "UPSCALING", "HEALTHY"):
    deployments[0].status = DeploymentStatus(state)
    asyncio.run(one.run_control_loop_step(0.0, 1.0, 1))
    print(controller.CONTROL_LOOP_INTERVAL_S, one.loops)
"""


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


def test_the_controller_of_ray_goes_by_it() -> None:
    """In a process of its own, for it changes Ray's class: by Serve's own statuses, behind each of its steps."""
    environment = {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", LOOP], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[:3] == ["0.5 1", f"{BUSY_S} 2", "0.5 3"]
