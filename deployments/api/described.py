"""What a client has to know before it can ask well: GET /v1/platform, and who came lately."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from msgspec import structs

from deployments.api.answer_schemas import AnswerBody
from deployments.api.routes import CheckedRoute
from deployments.api.writes import json_answer
from recsys.access.gate import Gate
from recsys.ranking.signals import SIGNALS
from recsys.serving.gateway import Gateway

_LINKS = {"dashboard": "RAY_DASHBOARD_ADDRESS", "grafana": "RAY_GRAFANA_HOST"}
"""Name of a link -> the variable of Ray's that has its URL."""


class ServedVersionOut(AnswerBody):
    version: str
    share: float
    """Of the users."""


class PlatformOut(AnswerBody):
    attributes: dict[str, str]
    """Declared attributes of items -> their type; what filters may name."""
    user_attributes: dict[str, str]
    context: dict[str, str]
    event_types: dict[str, dict[str, Any]]
    """By name: weight, liked_from, kept and counts_as, as the config file has them."""
    scenarios: dict[str, str]
    """Name -> the call that it is for: home, similar, search or rank."""
    limits: dict[str, int]
    """`k` and `bulk`."""
    signals: dict[str, str]
    """Signal -> what its number says."""
    index_version: str
    versions: list[ServedVersionOut]
    """What answers users: the served one, and one that goes out beside it."""
    variants: dict[str, list[str]]
    """Scenario -> variants of the experiment that runs on it, as EXPERIMENT/VARIANT, the control first."""
    open: bool
    """Whether calls need no key."""
    scopes: list[str]
    """What the key of this call may do."""
    links: dict[str, str]
    """Pages of other programs that show the platform: `dashboard` (Ray's), `grafana`. Those that are known here."""


class LatelyOut(AnswerBody):
    users: list[str]
    """The newest first."""


def router(gateway: Gateway, gate: Gate) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["operations"], route_class=CheckedRoute)
    declared = gateway.platform

    @routes.get("/platform", response_model=PlatformOut)
    async def platform(request: Request) -> Response:
        """What is declared here, and what the caller may do."""
        settings = gateway.settings
        body = {
            "attributes": declared.attributes,
            "user_attributes": declared.user_attributes,
            "context": declared.context,
            "event_types": {name: kind.model_dump(mode="json") for name, kind in settings.event_types.items()},
            "scenarios": {name: scenario.call(name) for name, scenario in sorted(settings.scenarios.items())},
            "limits": {"k": settings.limits.k, "bulk": settings.limits.bulk},
            "signals": {name: signal.says for name, signal in SIGNALS.items()},
            "index_version": gateway.follower.serve.version,
            "versions": [structs.asdict(one) for one in gateway.chosen.versions()],
            "variants": gateway.chosen.variants(),
            "open": gate.open,
            "scopes": sorted(gate.scopes(request.scope.get("recsys.presented"))),
            "links": {name: url for name, variable in _LINKS.items() if (url := os.environ.get(variable))},
        }
        return json_answer(body)

    @routes.get("/admin/users", response_model=LatelyOut, tags=["admin"])
    async def lately(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
        """Users who came last to the composer that answers."""
        return json_answer({"users": gateway.lately(limit)})

    return routes
