"""Recommendations, ranking, similar items, search."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from deployments.api.answer_schemas import SlateOut
from deployments.api.body_queries import BodyQueries, of_request
from deployments.api.parameters import (
    ContextText,
    EventsText,
    FilterText,
    ItemId,
    RulesText,
    basket_in,
    check_k,
    check_text,
    context_in,
    filter_of,
    rules_in,
    scenario_for,
)
from deployments.api.parsing import documented
from deployments.api.routes import CheckedRoute
from deployments.api.schemas import (
    ExplainText,
    PageText,
    RankBody,
    RecommendBody,
    RecommendQuery,
    SearchBody,
    Variant,
    Version,
)
from deployments.api.short_items import Similar
from deployments.api.slate_body import written
from deployments.api.user_queries import UserQueries
from recsys.config.scenarios import Kind
from recsys.datatypes import RecQuery
from recsys.errors import BadInput
from recsys.serving.chosen_answers import Choice
from recsys.serving.gateway import Gateway
from recsys.serving.left_out import WhyNot


def user_recommendations(gateway: Gateway) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of GET /v1/users/{user_id}/recommendations, the hottest: front.py calls it past FastAPI."""
    queries = UserQueries(gateway)

    async def recommendations_of_user(request: Request) -> Response:
        """Recommendations for a user, who need not be known."""
        scope = request.scope
        since, request_id = scope["recsys.caller"].since, scope["recsys.request_id"]
        query, wishes = queries.of(request.path_params["user_id"], scope["query_string"], since, request_id)
        if wishes.why_not is not None:
            return await _answer(gateway, request, query, page=wishes.page, why_not=(wishes.why_not,))
        return await _answer(gateway, request, query, page=wishes.page)

    return recommendations_of_user


def similar_items(gateway: Gateway) -> Similar:
    """The endpoint of GET /v1/items/{item_id}/similar: front.py calls it past FastAPI, see `short_items.py`."""
    platform = gateway.platform

    async def similar(
        request: Request,
        item_id: ItemId,
        k: Annotated[int, Query(ge=1)] = 10,
        scenario: Annotated[str, Query(max_length=64)] = "similar",
        filter: FilterText = None,  # noqa: A002
        context: ContextText = None,
        rules: RulesText = None,
        events: EventsText = None,
        explain: Annotated[ExplainText, Query()] = False,
        page: Annotated[PageText, Query()] = None,
        log: Annotated[bool, Query(description="false: the answer is not logged.")] = True,
        version: Annotated[Version, Query()] = None,
        variant: Annotated[Variant, Query()] = None,
    ) -> Response:
        """The neighbours of an item; 404 when there is no such item."""
        query = RecQuery(
            k=check_k(k, gateway.settings.limits),
            scenario=scenario_for(gateway.settings, scenario, "similar"),
            like_item=item_id,
            filter=filter_of(filter, platform),
            context=context_in(context, platform),
            rules=rules_in(rules, platform),
            basket=basket_in(events, gateway.settings),
            explain=explain,
        )
        query = of_request(query, request, log=log)
        return await _answer(gateway, request, query, page=page, choice=Choice(version, variant))

    return similar


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["recommendations"], route_class=CheckedRoute)
    queries = BodyQueries(gateway)
    slate_out: dict[str, Any] = {"response_model": SlateOut}

    routes.get(  # the id is read in the body, see parsing.py
        "/users/{user_id}/recommendations",
        **slate_out,
        openapi_extra=documented("user_id", RecommendQuery),
    )(user_recommendations(gateway))

    def query_of(request: Request, body: RecommendBody | SearchBody, call: Kind) -> RecQuery:
        query = queries.of(body, call, body.k, include_seen=body.include_seen)
        return of_request(queries.asked_by(body, query), request, log=body.log)

    @routes.post("/recommendations", **slate_out)
    async def recommendations(request: Request, body: RecommendBody) -> Response:
        """Recommendations with all that can be said of them in a body."""
        query, why_not = query_of(request, body, "home"), tuple(body.why_not)
        choice = Choice(body.version, body.variant)
        return await _answer(gateway, request, query, page=body.page, why_not=why_not, choice=choice)

    @routes.post("/rank", **slate_out)
    async def rank(request: Request, body: RankBody) -> Response:
        """Put the given items in order for a user; unknown ones are left out and named."""
        query = queries.ranking(body.items, body.scenario, explain=body.explain, rules=body.rules)
        query = of_request(queries.asked_by(body, query), request, log=body.log)
        return await _answer(gateway, request, query)

    routes.get("/items/{item_id}/similar", **slate_out)(similar_items(gateway))

    @routes.post("/search", **slate_out)
    async def search(request: Request, body: SearchBody) -> Response:
        """Items by what a text means, personalised when a user is given."""
        text = check_text(body.text, gateway.settings.limits)
        query, why_not = query_of(request, body, "search"), tuple(body.why_not)
        return await _answer(gateway, request, query, text, body.page, why_not, Choice(body.version, body.variant))

    return routes


class _Json(Response):
    """An answer that is bytes already. Starlette makes headers of names and types in Python, once for every answer."""

    def __init__(self, body: bytes, timing: str) -> None:  # what Response.__init__ does, for this one case
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"server-timing", timing.encode()),
        ]


_NO_CHOICE = Choice(None, None)
_EXPLAINED = 20
"""Items of an answer that is explained in full: it is made again for each of them."""


def _check_explained(query: RecQuery, page: str | None) -> None:
    """Raises BadInput for an answer that is too long to be explained in full."""
    if page is not None:
        raise BadInput("page: a page cannot be explained in full; ask for one answer, without `page`", field="page")
    if query.explain == "full" and query.k > _EXPLAINED:
        field = "items" if query.items is not None else "k"
        raise BadInput(
            f"{field}: {query.k} is over the {_EXPLAINED} that are explained in full; ask for fewer", field=field
        )


def _check_chosen(query: RecQuery, page: str | None, why_not: tuple[str, ...], choice: Choice) -> None:
    """Raises BadInput for what only an answer can have that is the user's own."""
    name = "version" if choice.version is not None else "variant"
    for field, given in (("page", page is not None), ("explain", query.explain == "full"), ("why_not", bool(why_not))):
        if given:
            raise BadInput(f"{field}: is of the user's own answer; leave it out, or `{name}`", field=field)


async def _answer(
    gateway: Gateway,
    request: Request,
    query: RecQuery,
    text: str | None = None,
    page: str | None = None,
    why_not: tuple[str, ...] = (),
    choice: Choice = _NO_CHOICE,
) -> Response:
    start = time.perf_counter()
    caller = request.scope["recsys.caller"]
    left_out: list[WhyNot] | None = None
    if choice != _NO_CHOICE:
        _check_chosen(query, page, why_not, choice)
        slate = await gateway.chosen.slate(query, choice, text, caller)
    elif query.explain == "full" or why_not:
        _check_explained(query, page)
        slate, left_out = await gateway.explained(query, why_not, text, caller)
    elif page is not None:
        slate = await gateway.page(query, page, text, caller)
    else:
        slate = await gateway.slate(query, text, caller)
    if (trace := request.scope.get("recsys.trace")) is not None:
        trace(query, slate)
    return _Json(*written(slate, query, request.scope["recsys.request_id"], start, left_out))
