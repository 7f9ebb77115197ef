"""What is known of users: attributes, histories, and what is forgotten of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec.structs import asdict

from deployments.api.parameters import EventId, UserId
from deployments.api.routes import CheckedRoute
from deployments.api.user_schemas import (
    AttributesBody,
    AttributesOut,
    ErasedOut,
    ForgottenOut,
    MergeBody,
    MergedOut,
    UserOut,
)
from deployments.api.writes import json_answer
from recsys.data.validation import check_attributes
from recsys.errors import BadInput
from recsys.serving.gateway import Gateway


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1/users", tags=["users"], route_class=CheckedRoute)
    declared = gateway.platform.user_attributes

    @routes.get("/{user_id}", response_model=UserOut)
    async def get_user(user_id: UserId, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        """What is known of a user; one that was never heard of has no events."""
        history, attributes = await asyncio.gather(
            gateway.user_records.history(user_id), gateway.user_records.attributes(user_id)
        )
        newest = [asdict(event) for event in reversed(history[-limit:])]
        kept = gateway.settings.history
        body = {"user_id": user_id, "attributes": attributes, "events": len(history)}
        return json_answer({**body, "history_limit": kept, "history": newest})

    @routes.delete("/{user_id}/events/{event_id}", response_model=ForgottenOut)
    async def forget_event(user_id: UserId, event_id: EventId) -> Response:
        """Delete one event; 404 when the user's history does not hold it."""
        await gateway.user_records.forget(user_id, event_id)
        return json_answer({"user_id": user_id, "event_id": event_id})

    @routes.put("/{user_id}", response_model=AttributesOut)
    async def put_user(user_id: UserId, body: AttributesBody) -> Response:
        """Store attributes of a user in the place of all others."""
        attributes = check_attributes(body.attributes, declared, under="user_attributes")
        return json_answer(
            {"user_id": user_id, "attributes": await gateway.user_records.describe(user_id, attributes, whole=True)}
        )

    @routes.patch("/{user_id}", response_model=AttributesOut)
    async def patch_user(user_id: UserId, body: AttributesBody) -> Response:
        """Change attributes of a user; null takes one away, and the others stay."""
        attributes = check_attributes(body.attributes, declared, under="user_attributes")
        gone = [name for name, value in body.attributes.items() if value is None]
        return json_answer(
            {
                "user_id": user_id,
                "attributes": await gateway.user_records.describe(user_id, attributes, gone, whole=False),
            }
        )

    @routes.post("/{user_id}/merge", response_model=MergedOut)
    async def merge_users(user_id: UserId, body: MergeBody) -> Response:
        """Give a user what another one did, such as a visitor who has signed in now, and forget that one."""
        if body.from_user == user_id:
            raise BadInput("from_user: is the user itself; name another one", field="from_user")
        moved = await gateway.user_records.merge(user_id, body.from_user)
        counts = {"accepted": moved.accepted, "duplicates": moved.duplicates, "too_old": moved.too_old}
        return json_answer({"user_id": user_id, "from_user": body.from_user, **counts})

    @routes.delete("/{user_id}", response_model=ErasedOut)
    async def erase_user(user_id: UserId) -> Response:
        """Forget a user: history and profile."""
        return json_answer({"user_id": user_id, "events_erased": await gateway.user_records.erase(user_id)})

    return routes
