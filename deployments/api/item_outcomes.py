"""Where items were shown and what came of it: GET /v1/metrics/items/{item_id} and /v1/metrics/catalogue."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response

from deployments.api.answer_schemas import AnswerBody
from deployments.api.operations import state_of
from deployments.api.parameters import ItemId
from deployments.api.routes import CheckedRoute
from deployments.api.writes import json_answer
from recsys.data.records import UnixSeconds
from recsys.errors import BadInput
from recsys.outcomes.by_item import Places
from recsys.outcomes.joining import Question
from recsys.serving.gateway import Gateway

_MONTH_S = 30 * 86_400.0

Since = Annotated[UnixSeconds | None, Query(alias="from", description="RFC 3339 or Unix seconds; 30 days before `to`.")]
Until = Annotated[UnixSeconds | None, Query(alias="to", description="RFC 3339 or Unix seconds; now.")]


class PlacesOut(AnswerBody):
    shown: int
    """Answers that had the item."""
    position: float
    """Its mean place in them, from 1."""
    clicks: int
    conversions: int


class DayOut(PlacesOut):
    day: str
    """In UTC."""


class ScenarioOut(PlacesOut):
    scenario: str


class ItemOutcomesOut(AnswerBody):
    item_id: str
    start: float
    end: float
    days: list[DayOut]
    scenarios: list[ScenarioOut]


class CatalogueOut(AnswerBody):
    start: float
    end: float
    items: int
    """In the catalogue now."""
    places: int
    """Items in the answers of the period, each time counted."""
    items_shown: int
    """Different items in them."""
    coverage: float | None
    """Share of the catalogue that was shown; null where it is empty."""
    effective_items: float
    """How many items, shown equally often, would have the entropy of what was shown."""
    top_share: float
    """Share of the places that the most shown tenth of the shown items has."""
    new_to_user: float | None
    """Share of the places whose item the same user had not been shown before in the period."""


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1/metrics", tags=["metrics"], route_class=CheckedRoute)

    def question_of(since: float | None, until: float | None) -> Question:
        end = time.time() if until is None else until
        start = end - _MONTH_S if since is None else since
        if start >= end:
            raise BadInput("from: lies at or behind `to`; give an earlier one", field="from")
        return Question(start, end, (), gateway.settings.slate_log.window_s, gateway.settings.outcome_roles())

    @routes.get("/items/{item_id}", response_model=ItemOutcomesOut)
    async def item(item_id: ItemId, since: Since = None, until: Until = None) -> Response:
        """In which answers an item was, and what came of it."""
        question = question_of(since, until)
        course = await gateway.reports.item_course(question, item_id)
        return json_answer(
            {
                "item_id": item_id,
                "start": question.start,
                "end": question.end,
                "days": [_named("day", places) for places in course.days],
                "scenarios": [_named("scenario", places) for places in course.scenarios],
            }
        )

    @routes.get("/catalogue", response_model=CatalogueOut)
    async def catalogue(since: Since = None, until: Until = None) -> Response:
        """How much of the catalogue came into answers, and how evenly."""
        question = question_of(since, until)
        use = await gateway.reports.catalogue_use(question)
        items = (await state_of(gateway))["items"]
        coverage = min(use.items_shown / items, 1.0) if items else None
        return json_answer(
            {"start": question.start, "end": question.end, "items": items, "coverage": coverage, **asdict(use)}
        )

    return routes


def _named(key: str, places: Places) -> dict[str, object]:
    fields = asdict(places)
    return {key: fields.pop("key"), **fields}
