"""What came of answers: GET /v1/metrics/outcomes."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any, get_args

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import Field

from deployments.api.answer_schemas import AnswerBody
from deployments.api.routes import CheckedRoute
from recsys.data.records import UnixSeconds
from recsys.data.wording import listed
from recsys.errors import BadInput
from recsys.outcomes.joining import Dimension, Question, Report
from recsys.outcomes.measures import RATIOS, Measures
from recsys.serving.gateway import Gateway

_DAY_S = 86_400.0
_WINDOW_LIMIT_S = 90 * _DAY_S


class MeasuresOut(AnswerBody):
    """See docs/outcomes.md. A ratio is null where it would divide by 0."""

    answers: int
    items: int
    impressions: int
    clicks: int
    clicks_of_impressions: int
    answers_with_click: int
    conversions: int
    answers_with_conversion: int
    value: float
    click_through: float | None
    click_through_seen: float | None
    answer_click_through: float | None
    conversion: float | None
    value_per_answer: float | None


class GroupOut(MeasuresOut):
    """One value of each dimension that was asked for; the other dimensions are not there."""

    scenario: str = ""
    day: str = Field("", examples=["2026-11-27"])
    """In UTC."""
    position: int = 1
    """From 1; 0 stands for answers without items."""
    source: str | None = None
    version: str = ""
    variant: str = ""


class OutcomesOut(AnswerBody):
    start: float
    """Unix seconds, included."""
    end: float
    """Unix seconds, excluded."""
    window_s: float
    total: MeasuresOut
    groups: list[GroupOut]
    repeated_answers: int
    lost_answers: int
    lost_outcomes: int
    untimely: int
    elsewhere: int
    unknown: int


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1/metrics", tags=["metrics"], route_class=CheckedRoute)

    @routes.get("/outcomes", response_model=OutcomesOut)
    async def outcomes(
        since: Annotated[
            UnixSeconds | None, Query(alias="from", description="RFC 3339 or Unix seconds; a day before `to`.")
        ] = None,
        until: Annotated[UnixSeconds | None, Query(alias="to", description="RFC 3339 or Unix seconds; now.")] = None,
        by: Annotated[
            str, Query(max_length=200, description="Dimensions, with commas between: " + ", ".join(get_args(Dimension)))
        ] = "",
        window_s: Annotated[float | None, Query(ge=1, le=_WINDOW_LIMIT_S, allow_inf_nan=False)] = None,
    ) -> Response:
        """Impressions, clicks, conversions and value of what was answered in a period."""
        settings = gateway.settings
        end = time.time() if until is None else until
        start = end - _DAY_S if since is None else since
        if start >= end:
            raise BadInput("from: lies at or behind `to`; give an earlier one", field="from")
        window = settings.slate_log.window_s if window_s is None else window_s
        question = Question(start, end, _dimensions(by), window, gateway.settings.outcome_roles())
        return Response(
            orjson.dumps(_out(question, await gateway.reports.outcomes(question))), media_type="application/json"
        )

    return routes


def _dimensions(text: str) -> tuple[Dimension, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in get_args(Dimension):
            raise BadInput(f"by: {name[:40]!r} is no dimension; they are {listed(get_args(Dimension))}", field="by")
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type] # each was looked up


def _out(question: Question, report: Report) -> dict[str, Any]:
    groups = [
        {**dict(zip(question.by, group.key, strict=True)), **_measures(group.measures)} for group in report.groups
    ]
    counts = {name: value for name, value in asdict(report).items() if name not in ("groups", "total")}
    period = {"start": question.start, "end": question.end, "window_s": question.window_s}
    return {**period, "total": _measures(report.total), "groups": groups, **counts}


def _measures(measures: Measures) -> dict[str, float | None]:
    return {**asdict(measures), **{name: getattr(measures, name) for name in RATIOS}}
