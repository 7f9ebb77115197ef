"""Scaling over HTTP: what `recsys scale`, `hold` and `release` do, for the console and for scripts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import Field, StrictBool

from deployments.api.routes import CheckedRoute
from deployments.api.schemas import Body
from deployments.machine.config_change import Change, rescale
from deployments.machine.live_scaling import Bounds, Scale, bound, hold, scales
from deployments.machine.preflight import is_loopback
from deployments.machine.rollout import Rollout
from recsys.access.gate import Gate
from recsys.config.base import Settings
from recsys.errors import Forbidden, RuntimeFailure, Unavailable

_ANSWER_S = 60.0
"""Seconds that a call of Serve's REST API waits at the most."""


class ScaleRequest(Body):
    deployment: str = Field(max_length=128, examples=["shard-0"])
    """Composer, Encoder, shard-0, …"""
    min_replicas: int = Field(strict=True, ge=1, le=1000, examples=[2])
    max_replicas: int = Field(strict=True, ge=1, le=1000, examples=[6])


class HoldRequest(Body):
    deployment: str | None = Field(None, max_length=128)
    """null: each that scales by load."""
    held: StrictBool
    """true: as many replicas as there are now, whatever the load; false: the load decides again."""


class Deployments(Settings):
    deployments: list[Scale]


def router(gate: Gate, home: Path, changed: Callable[[], None] = lambda: None) -> APIRouter:
    """The admin scope is asked for before a call gets here; `gate` says whether anything is. `home`: the platform's.
    `changed` is called after a change.
    """
    routes = APIRouter(tags=["admin"], prefix="/v1/admin", route_class=CheckedRoute)

    async def change(how: Change) -> Deployments:
        answer = await asyncio.to_thread(_ask, gate, home, how)
        changed()
        return answer

    @routes.get("/deployments")
    async def deployments() -> Deployments:
        """Replicas of every deployment, their bounds, and what is held."""
        return await asyncio.to_thread(deployments_of, gate, home)

    @routes.post("/scale")
    async def scale(body: ScaleRequest) -> Deployments:
        """New bounds for a deployment, live. Answers once they are taken over; the replicas come seconds later."""
        bounds = Bounds.of(body.min_replicas, body.max_replicas)
        return await change(lambda config: bound(config, body.deployment, bounds))

    @routes.post("/hold")
    async def hold_(body: HoldRequest) -> Deployments:
        """Hold a deployment at the replicas it has, or release it."""
        return await change(lambda config: hold(config, body.deployment, held=body.held))

    return routes


def deployments_of(gate: Gate, home: Path, answer_s: float = _ANSWER_S) -> Deployments:
    """The answer of GET /v1/admin/deployments. Raises Unavailable, and Forbidden where these calls are closed.

    `answer_s`: seconds that a call of Serve's REST API waits at the most.
    """
    return _ask(gate, home, None, answer_s)


def _ask(gate: Gate, home: Path, change: Change | None, answer_s: float = _ANSWER_S) -> Deployments:
    """Hand the changed config to Serve, None for no change, and say how things stand then.

    Raises Unavailable when Serve's REST API cannot be reached from here.
    """
    try:
        with Rollout(_dashboard(), _token(), Path("serve"), answer_s) as rollout:
            details = rollout.details()
            if gate.open:
                _refuse_beyond_loopback(details)
            if change is not None:
                _, details = rescale(rollout, change, home)
    except (RuntimeFailure, OSError) as error:
        raise Unavailable(f"the Ray dashboard does not take the change: {error}") from error
    return Deployments(deployments=scales(details))


def _refuse_beyond_loopback(details: Mapping[str, Any]) -> None:
    """Where no keys are asked for, and the API listens to a network all the same, whoever calls is not an admin."""
    if not is_loopback((details.get("http_options") or {}).get("host") or ""):
        raise Forbidden("no API keys are asked for: beyond loopback these calls are closed until they are", "admin")


def _dashboard() -> str:
    """Where Ray's own command line would look for it; `recsys up` sets it."""
    return os.environ.get("RAY_DASHBOARD_ADDRESS", "http://127.0.0.1:8265")


def _token() -> str:
    """Ray's, which every process of the cluster has: given itself, or the file that it lies in."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser().read_text().strip()
