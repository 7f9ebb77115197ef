"""Events and items."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response

from deployments.api.answer_schemas import EventsOut, ItemOut, ItemsOut, ListedOut, WrittenOut
from deployments.api.parameters import FilterText, ItemId, check_bulk, filter_of
from deployments.api.problems import AllRefused, refused_out
from deployments.api.routes import CheckedRoute
from deployments.api.schemas import EventsBody, ItemsBody
from deployments.api.short_events import Record
from deployments.api.short_items import OfItem
from deployments.api.whole_items import checked_items, upserted
from recsys.data.canonical import canonical
from recsys.data.item_patch import patched
from recsys.data.plain_events import stated_events
from recsys.data.records import Id, ItemIn, Refused
from recsys.errors import BadInput, Conflict
from recsys.serving.gateway import Gateway
from recsys.serving.item_calls import Written

Wait = Annotated[Literal["visible"] | None, Query(description="visible: answer once every replica has it.")]
Version = Annotated[
    int | None,
    Query(
        ge=0,
        le=2**53 - 1,
        description="Your own number of the change, such as its milliseconds: one under the number of the item's last "
        "change is refused with `conflict`, and nothing is changed.",
    ),
]


def recording(gateway: Gateway) -> Record:
    """The endpoint of POST /v1/events: front.py calls it past FastAPI, see `short_events.py`."""

    async def events(body: EventsBody) -> Response:
        """Record interactions. Each counts once by its event_id, and the next recommendation knows it."""
        settings, now = gateway.settings, time.time()
        check_bulk(len(body.events), "events", settings.limits)
        read = stated_events(body.events, settings.event_types, settings.limits, now)
        refuse_if_all("events", read.events, read.refused)
        recorded = await gateway.record(read.events, read.untimed, fold=body.profiles == "now")
        return json_answer({**asdict(recorded), **refused_out(read.refused)})

    return events


def reading(gateway: Gateway) -> OfItem:
    """The endpoint of GET /v1/items/{item_id}: front.py calls it past FastAPI, see `short_items.py`."""

    async def get_item(item_id: ItemId) -> Response:
        return json_answer(asdict(await gateway.items.item(item_id)))

    return get_item


def deleting(gateway: Gateway) -> OfItem:
    """The endpoint of DELETE /v1/items/{item_id}, which goes the same ways."""

    async def delete_item(item_id: ItemId, wait: Wait = None, version: Version = None) -> Response:
        """Take an item out of every answer; 404 when it is not there."""
        return json_answer(asdict(await gateway.items.delete(item_id, wait_visible=wait is not None, version=version)))

    return delete_item


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["events, items"], route_class=CheckedRoute)
    declared = gateway.platform.attributes

    routes.post("/events", response_model=EventsOut)(recording(gateway))

    @routes.post("/items", response_model=ItemsOut)
    async def items(body: ItemsBody, wait: Wait = None, version: Version = None) -> Response:
        """Insert or replace items in bulk; what is written is durable and found within a fraction of a second."""
        check_bulk(len(body.items), "items", gateway.settings.limits)
        good, refused = await checked_items(body.items, gateway)
        refuse_if_all("items", good, refused)
        became = await upserted(good, gateway, wait_visible=wait is not None, version=version)
        return json_answer(_items_out(good, became, refused))

    @routes.put("/items/{item_id}", response_model=WrittenOut)
    async def put_item(item_id: ItemId, body: dict[str, Any], wait: Wait = None, version: Version = None) -> Response:
        """Insert or replace one item; an item_id in the body must be the path's."""
        _named_alike(body, item_id)
        good, refused = await checked_items([body], gateway)
        if refused:
            raise _alone(refused[0])
        [became] = await upserted(good, gateway, wait_visible=wait is not None, version=version)
        return json_answer(asdict(_written(became)))

    @routes.patch("/items/{item_id}", response_model=WrittenOut)
    async def patch_item(item_id: ItemId, body: dict[str, Any], wait: Wait = None, version: Version = None) -> Response:
        """Change what the body names of an item; null takes a field or an attribute away. 404 when it is not there."""
        _named_alike(body, item_id)
        limits = gateway.settings.limits
        changed = await gateway.items.change(
            item_id, lambda item: patched(item, body, declared, limits), wait_visible=wait is not None, version=version
        )
        return json_answer(asdict(changed))

    @routes.get("/items", response_model=ListedOut)
    async def list_items(
        limit: Annotated[int, Query(ge=1)] = 100,
        cursor: Annotated[Id | None, Query(description="`next_cursor` of the page before.")] = None,
        filter: FilterText = None,  # noqa: A002
    ) -> Response:
        """All items, hidden ones too, page by page. One that is there all the while comes exactly once."""
        check_bulk(limit, "limit", gateway.settings.limits)
        listed = await gateway.items.page(cursor, limit, filter_of(filter, gateway.platform))
        following = listed[-1].item_id if len(listed) == limit else None
        return json_answer({"items": [asdict(item) for item in listed], "next_cursor": following})

    routes.get("/items/{item_id}", response_model=ItemOut)(reading(gateway))
    routes.delete("/items/{item_id}", response_model=WrittenOut)(deleting(gateway))
    return routes


def _named_alike(body: dict[str, Any], item_id: str) -> None:
    """Give the body the path's id. Raises BadInput where it has another."""
    given = body.setdefault("item_id", item_id)
    if given != item_id and not (isinstance(given, str) and canonical(given) == item_id):
        raise BadInput("item_id: the body names another item than the path; leave it out of the body", field="item_id")


def refuse_if_all(what: str, good: Sequence[object], refused: Sequence[Refused]) -> None:
    """A call of which nothing can be taken is a wrong call, whatever else it says."""
    if refused and not good:
        raise AllRefused(what, refused)


def _items_out(
    good: Sequence[tuple[int, ItemIn]], became: Sequence[Written | Conflict], refused: Sequence[Refused]
) -> dict[str, Any]:
    """What was written, and what was not: wrong, or older than what is known."""
    older = [
        Refused(index, one.field, one.code, str(one))
        for (index, _), one in zip(good, became, strict=True)
        if isinstance(one, Conflict)
    ]
    written = [one for one in became if isinstance(one, Written)]
    return {"written": written, **refused_out(sorted([*refused, *older], key=lambda one: one.index))}


def _written(became: Written | Conflict) -> Written:
    if isinstance(became, Conflict):
        raise became
    return became


def _alone(wrong: Refused) -> BadInput:
    """The error of a call for the one element."""
    message = wrong.message if wrong.field else f"body: {wrong.message}"
    return BadInput(message, field=wrong.field or "body", code=wrong.code)


def json_answer(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
