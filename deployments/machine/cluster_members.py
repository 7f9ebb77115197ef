"""The machines of a cluster, as Ray's dashboard tells them."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from deployments.machine.instance import Instance
from deployments.machine.rollout import OnPhase
from recsys.errors import RuntimeFailure

_LOOK_S = 0.5


def alive(instance: Instance) -> Mapping[str, str]:
    """Ray's id of each machine that is there, by its address. Raises RuntimeFailure when the dashboard does not say."""
    try:
        answer = httpx.get(
            f"{instance.dashboard_url}/api/v0/nodes",
            params={"limit": 1000},
            headers={"Authorization": f"Bearer {instance.token}"},
            timeout=30.0,
            trust_env=False,
        )
        nodes = answer.raise_for_status().json()["data"]["result"]["result"]
        return {str(node["node_ip"]): str(node["node_id"]) for node in nodes if node["state"] == "ALIVE"}
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise RuntimeFailure(f"the dashboard at {instance.dashboard_url} does not tell its nodes: {error}") from None


def wait_for(instance: Instance, number: int, on_phase: OnPhase, within_s: float) -> None:
    """Wait until the dashboard says that so many machines are there. Raises RuntimeFailure after `within_s` seconds."""
    deadline, shown = time.monotonic() + within_s, 0
    while (there := _there(instance)) < number:
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"{there} of {number} machines are there after {within_s:.0f} s: start the others")
        if there != shown:
            on_phase(f"machines: {there} of {number}")
            shown = there
        time.sleep(_LOOK_S)


def _there(instance: Instance) -> int:
    """The number of machines; 0 also while the dashboard, which `ray start` may leave behind, does not answer yet."""
    try:
        return len(alive(instance))
    except RuntimeFailure:
        return 0
