"""Several slates in one call: of many users, and the rows of a page."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import structs
from pydantic import BaseModel, Field

from deployments.api.answer_schemas import RecommendedItem
from deployments.api.parameters import basket_of, check_bulk, check_k, check_text, context_of, scenario_for
from deployments.api.problems import status_of
from deployments.api.routes import CheckedRoute
from deployments.api.schemas import (
    Basket,
    Body,
    Context,
    Flag,
    Ids,
    QueryText,
    Rules,
    StrictDiversity,
    StrictK,
)
from recsys.access.gate import Gate
from recsys.answers import Recommendation, Slate
from recsys.data.filters import FilterIn, compile_filter
from recsys.data.records import Id
from recsys.data.rules import compile_rules
from recsys.datatypes import RecQuery
from recsys.errors import BadInput, RecsysError
from recsys.ranking.scenarios import referable_of
from recsys.serving.gateway import Gateway
from recsys.serving.several_answers import Answer, Question, answered, rows
from recsys.transport.coalescing import Caller

USERS = 100
"""Users of one call."""
ROWS = 20
"""Rows of one page."""
_ITEMS = 300
"""Items of all rows together: a row is ranked as deep as it and those before it are long, and that many take some 20 ms
to spread."""
_ID_CHARS = 120
"""Characters of a request's id that the ids of its answers begin with: those have at most 128."""


class UsersBody(Body):
    """What is said of one user's slate in POST /v1/recommendations, for all of these."""

    users: Annotated[list[Id], Field(min_length=1, max_length=USERS)]
    k: StrictK = 10
    scenario: str = Field("home", max_length=64)
    filter: FilterIn | None = None
    exclude: Ids = Field([])
    include_seen: Flag = False
    diversity: StrictDiversity = None
    explain: Flag = False
    rules: Rules = Field([])
    context: Context = Field({})


class RowIn(Body):
    """One row of a page. Which of `text`, `item_id` and `items` it needs follows from the kind of its scenario."""

    name: str = Field("", max_length=64)
    """Of the caller's choice, and given back."""
    scenario: str = Field("home", max_length=64)
    k: StrictK | None = None
    """null: 10, or all of `items`."""
    text: QueryText | None = None
    """For a scenario of searches."""
    item_id: Id | None = None
    """For a scenario of similar items."""
    items: Ids | None = None
    """For a scenario that ranks."""
    filter: FilterIn | None = None
    exclude: Ids = Field([])
    include_seen: Flag | None = None
    """null: as the call of its kind has it."""
    diversity: StrictDiversity = None
    explain: Flag = False
    rules: Rules = Field([])


class PageBody(Body):
    rows: Annotated[list[RowIn], Field(min_length=1, max_length=ROWS)]
    """From the top of the page: earlier rows have the choice."""
    user_id: Id | None = None
    context: Context = Field({})
    events: Basket = Field([])


class ErrorOut(BaseModel):
    """Why there is no slate: what the call for it alone would be told."""

    status: int
    code: str
    detail: str
    field: str | None = None


class AnswerOut(BaseModel):
    """One slate, or `error`."""

    request_id: str
    """The call's own with a number: what events name this slate by."""
    user_id: str | None = None
    name: str | None = None
    scenario: str
    model_version: str | None = None
    index_version: str | None = None
    degraded: list[str] = []
    items: list[RecommendedItem] = []
    unknown_items: list[str] | None = None
    notes: list[str] | None = None
    error: ErrorOut | None = None


class UsersOut(BaseModel):
    request_id: str
    took_ms: float
    answers: list[AnswerOut]
    """In the order of `users`."""


class PageOut(BaseModel):
    request_id: str
    took_ms: float
    rows: list[AnswerOut]
    """In the order of `rows`."""


class _Answer(msgspec.Struct, omit_defaults=True, gc=False):
    """What AnswerOut documents, of a slate."""

    request_id: str
    scenario: str
    model_version: str
    index_version: str
    degraded: tuple[str, ...]
    items: tuple[Recommendation, ...]
    user_id: str | None = None
    name: str = ""
    unknown_items: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


class _Failed(msgspec.Struct, omit_defaults=True, gc=False):
    """The same of an error."""

    request_id: str
    scenario: str
    error: dict[str, Any]
    user_id: str | None = None
    name: str = ""


_NEEDS = {"search": "text", "similar": "item_id", "rank": "items"}
"""Kind of a scenario -> the field that its rows need, and those of other kinds do not take."""


def router(gateway: Gateway, gate: Gate) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["recommendations"], route_class=CheckedRoute)
    platform, declared, referable = gateway.platform, gateway.platform.attributes, referable_of(gateway.platform)

    async def ask(question: Question, turn: Caller) -> Slate:
        query, text = question
        return await (gateway.recommend(query, turn) if text is None else gateway.search(text, query, turn))

    @routes.post("/recommendations/batch", response_model=UsersOut)
    async def of_users(request: Request, body: UsersBody) -> Response:
        """Recommendations for up to 100 users, each answered as if it had been asked for alone."""
        began, limits = time.perf_counter(), gateway.settings.limits
        gate.charge(request.scope.get("recsys.key"), len(body.users) - 1)
        check_bulk(len(body.exclude), "exclude", limits)
        common = RecQuery(
            k=check_k(body.k, limits),
            scenario=scenario_for(gateway.settings, body.scenario, "home"),
            filter=compile_filter(body.filter, declared, referable=referable),
            exclude=tuple(body.exclude),
            include_seen=body.include_seen,
            diversity=body.diversity,
            explain=body.explain,
            rules=compile_rules(body.rules, declared, referable=referable),
            context=context_of(body.context, platform),
        )
        queries = [
            structs.replace(common, user_id=user, request_id=_own_id(request, n)) for n, user in enumerate(body.users)
        ]
        answers = await answered([Question(query) for query in queries], ask, request.scope["recsys.caller"])
        told = [_told(query, answer, user_id=query.user_id) for query, answer in zip(queries, answers, strict=True)]
        return _json(request, began, "answers", told)

    def question_of(n: int, row: RowIn, common: RecQuery) -> Question:
        at, limits = f"rows[{n}]", gateway.settings.limits
        scenario = gateway.settings.scenarios.get(row.scenario)
        kind = "home" if scenario is None else scenario.call(row.scenario)
        for call, field in _NEEDS.items():
            if (getattr(row, field) is not None) != (call == kind):
                needs = "needs it" if call == kind else "does not take it"
                raise BadInput(f"{at}.{field}: a row of a scenario for {kind} {needs}", field=f"{at}.{field}")
        check_bulk(len(row.exclude), f"{at}.exclude", limits)
        check_bulk(len(row.items or ()), f"{at}.items", limits)
        items = None if row.items is None else tuple(dict.fromkeys(row.items))
        query = structs.replace(
            common,
            k=check_k(row.k or 10, limits, f"{at}.k") if items is None else len(items),
            scenario=scenario_for(gateway.settings, row.scenario, kind, f"{at}.scenario"),
            like_item=row.item_id,
            items=items,
            filter=compile_filter(row.filter, declared, f"{at}.filter", referable),
            exclude=tuple(row.exclude),
            include_seen=kind in ("search", "rank") if row.include_seen is None else row.include_seen,
            diversity=0.0 if kind == "rank" else row.diversity,
            explain=row.explain,
            rules=compile_rules(row.rules, declared, f"{at}.rules", referable),
        )
        return Question(query, None if row.text is None else check_text(row.text, limits, f"{at}.text"))

    @routes.post("/pages", response_model=PageOut)
    async def page(request: Request, body: PageBody) -> Response:
        """The rows of a page, each with a scenario and a query of its own. No item comes in two of them."""
        began = time.perf_counter()
        gate.charge(request.scope.get("recsys.key"), len(body.rows) - 1)
        context, basket = context_of(body.context, platform), basket_of(body.events, gateway.settings, time.time())
        common = RecQuery(k=1, user_id=body.user_id, context=context, basket=basket)
        questions = [question_of(n, row, common) for n, row in enumerate(body.rows)]
        if (wanted := sum(query.k for query, _ in questions)) > _ITEMS:
            raise BadInput(
                f"rows: ask for {wanted} items together, over the limit of {_ITEMS}; lower their k", field="rows"
            )
        answers = await rows(questions, ask, request.scope["recsys.caller"])
        told: list[_Answer | _Failed] = []
        for n, (row, (query, _), answer) in enumerate(zip(body.rows, questions, answers, strict=True)):
            logged = structs.replace(query, request_id=_own_id(request, n))
            if isinstance(answer, Slate):
                gateway.given(logged, answer)
            told.append(_told(logged, answer, name=row.name))
        return _json(request, began, "rows", told)

    return routes


def _own_id(request: Request, n: int) -> str:
    """What events name the n-th answer of the call by."""
    return f"{request.scope['recsys.request_id'][:_ID_CHARS]}.{n}"


def _told(query: RecQuery, answer: Answer, *, user_id: str | None = None, name: str = "") -> _Answer | _Failed:
    request_id = query.request_id or ""
    if isinstance(answer, RecsysError):
        error: dict[str, Any] = {"status": status_of(answer).value, "code": answer.code, "detail": str(answer)}
        if isinstance(answer, BadInput) and answer.field is not None:
            error["field"] = answer.field
        return _Failed(request_id, query.scenario, error, user_id, name)
    unknown = None if query.items is None else answer.unknown_items
    return _Answer(
        request_id, query.scenario, answer.model_version, answer.index_version, answer.degraded, answer.items,
        user_id, name, unknown, answer.notes,
    )  # fmt: skip


def _json(request: Request, began: float, name: str, answers: list[_Answer | _Failed]) -> Response:
    took_ms = round((time.perf_counter() - began) * 1000, 3)
    body = {"request_id": request.scope["recsys.request_id"], "took_ms": took_ms, name: answers}
    return Response(msgspec.json.encode(body), media_type="application/json")
