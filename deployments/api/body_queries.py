"""Queries of the calls whose bodies say what is wanted: of one slate, and of each of several."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fastapi import Request
from msgspec import structs

from deployments.api.parameters import basket_of, check_bulk, check_k, context_of, scenario_for
from recsys.config.scenarios import Kind
from recsys.data.filters import FilterIn, compile_filter
from recsys.data.rules import compile_rules
from recsys.datatypes import RecQuery
from recsys.ranking.scenarios import referable_of
from recsys.serving.gateway import Gateway


class Slated(Protocol):
    """What every body says of a slate."""

    scenario: str
    filter: FilterIn | None
    exclude: list[str]
    diversity: float | None
    explain: Any
    rules: Any


class Asked(Protocol):
    """What a body says of who asks, and when."""

    user_id: str | None
    context: dict[str, Any]
    events: Any


class BodyQueries:
    """All methods raise BadInput that names the field."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._platform = gateway.platform
        self._referable = referable_of(gateway.platform)

    def of(self, body: Slated, kind: Kind, k: int, *, include_seen: bool, at: str = "") -> RecQuery:
        """A query for nobody yet. `kind` is that of the call. `at`: what the names of fields begin with."""
        declared, settings = self._platform.attributes, self._gateway.settings
        check_bulk(len(body.exclude), f"{at}exclude", settings.limits)
        return RecQuery(
            k=check_k(k, settings.limits, f"{at}k"),
            scenario=scenario_for(settings, body.scenario, kind, f"{at}scenario"),
            filter=compile_filter(body.filter, declared, f"{at}filter", self._referable),
            exclude=tuple(body.exclude),
            include_seen=include_seen,
            diversity=body.diversity,
            explain=body.explain,
            rules=compile_rules(body.rules, declared, f"{at}rules", self._referable),
        )

    def ranking(self, items: list[str], scenario: str, *, explain: Any, rules: Any, at: str = "") -> RecQuery:
        """A query for nobody yet that puts these items in order."""
        settings = self._gateway.settings
        check_bulk(len(items), f"{at}items", settings.limits)
        different = tuple(dict.fromkeys(items))
        return RecQuery(
            k=len(different),
            scenario=scenario_for(settings, scenario, "rank", f"{at}scenario"),
            items=different,
            include_seen=True,
            diversity=0.0,
            explain=explain,
            rules=compile_rules(rules, self._platform.attributes, f"{at}rules", self._referable),
        )

    def asked_by(self, body: Asked, query: RecQuery) -> RecQuery:
        """The query for the user of the body, in its context."""
        return structs.replace(
            query,
            user_id=body.user_id,
            context=context_of(body.context, self._platform),
            basket=basket_of(body.events, self._gateway.settings, time.time()),
        )


def of_request(query: RecQuery, request: Request, *, log: bool) -> RecQuery:
    """The query as part of a request, which says since when its caller waits. `log`: whether the answer is logged."""
    scope = request.scope
    request_id = scope["recsys.request_id"] if log else None
    return structs.replace(query, since=scope["recsys.caller"].since, request_id=request_id)
