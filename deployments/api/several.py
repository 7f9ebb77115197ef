"""Several slates in one call: of many users, and the rows of a page."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import structs

from deployments.api.body_queries import BodyQueries
from deployments.api.parameters import check_text, context_of
from deployments.api.problems import status_of
from deployments.api.routes import CheckedRoute
from deployments.api.several_schemas import PageBody, PageOut, RowIn, UsersBody, UsersOut
from deployments.api.slate_body import SlateHead
from recsys.access.gate import Gate
from recsys.answers import Recommendation, Slate
from recsys.datatypes import RecQuery
from recsys.errors import BadInput, RecsysError
from recsys.serving.gateway import Gateway
from recsys.serving.several_answers import Answer, Question, answered, rows
from recsys.transport.coalescing import Caller

_ITEMS = 300
"""Items of all rows together: a row is ranked as deep as it and those before it are long, and that many take some 20 ms
to spread."""
_ID_CHARS = 120
"""Characters of a request's id that the ids of its answers begin with: those have at most 128."""


class _Answer(SlateHead, omit_defaults=True, gc=False):
    """What AnswerOut documents, of a slate."""

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
    queries = BodyQueries(gateway)

    async def ask(question: Question, turn: Caller) -> Slate:
        return await gateway.slate(question.query, question.text, turn)

    @routes.post("/recommendations/batch", response_model=UsersOut)
    async def of_users(request: Request, body: UsersBody) -> Response:
        """Recommendations for up to 100 users, each answered as if it had been asked for alone."""
        began = time.perf_counter()
        gate.charge(request.scope.get("recsys.key"), len(body.users) - 1)
        common = queries.of(body, "home", body.k, include_seen=body.include_seen)
        common = structs.replace(common, context=context_of(body.context, gateway.platform))
        asked = [
            structs.replace(common, user_id=user, request_id=_own_id(request, n)) for n, user in enumerate(body.users)
        ]
        answers = await answered([Question(query) for query in asked], ask, request.scope["recsys.caller"])
        bodies = [_told(query, answer, user_id=query.user_id) for query, answer in zip(asked, answers, strict=True)]
        return _json(request, began, "answers", bodies)

    @routes.post("/pages", response_model=PageOut)
    async def page(request: Request, body: PageBody) -> Response:
        """The rows of a page, each with a scenario and a query of its own. No item comes in two of them."""
        began = time.perf_counter()
        gate.charge(request.scope.get("recsys.key"), len(body.rows) - 1)
        asked = queries.asked_by(body, RecQuery(k=1))
        questions = [_question_of(gateway, queries, n, row, asked) for n, row in enumerate(body.rows)]
        if (wanted := sum(query.k for query, _ in questions)) > _ITEMS:
            raise BadInput(
                f"rows: ask for {wanted} items together, over the limit of {_ITEMS}; lower their k", field="rows"
            )
        answers = await rows(questions, ask, request.scope["recsys.caller"])
        bodies: list[_Answer | _Failed] = []
        for n, (row, (query, _), answer) in enumerate(zip(body.rows, questions, answers, strict=True)):
            logged = structs.replace(query, request_id=_own_id(request, n))
            if isinstance(answer, Slate):
                gateway.given(logged, answer)
            bodies.append(_told(logged, answer, name=row.name))
        return _json(request, began, "rows", bodies)

    return routes


def _question_of(gateway: Gateway, queries: BodyQueries, n: int, row: RowIn, asked: RecQuery) -> Question:
    """`asked`: what is the same in all rows."""
    at, limits = f"rows[{n}].", gateway.settings.limits
    scenario = gateway.settings.scenarios.get(row.scenario)
    kind = "home" if scenario is None else scenario.call(row.scenario)
    for call, field in _NEEDS.items():
        if (getattr(row, field) is not None) != (call == kind):
            needs = "needs it" if call == kind else "does not take it"
            raise BadInput(f"{at}{field}: a row of a scenario for {kind} {needs}", field=f"{at}{field}")
    seen = kind in ("search", "rank") if row.include_seen is None else row.include_seen
    k = row.k or 10 if row.items is None else 1
    query = queries.of(row, kind, k, include_seen=seen, at=at)
    if row.items is not None:
        ranked = queries.ranking(row.items, row.scenario, explain=row.explain, rules=row.rules, at=at)
        query = structs.replace(ranked, filter=query.filter, exclude=query.exclude, include_seen=seen)
    query = structs.replace(
        query, like_item=row.item_id, user_id=asked.user_id, context=asked.context, basket=asked.basket
    )
    return Question(query, None if row.text is None else check_text(row.text, limits, f"{at}text"))


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
