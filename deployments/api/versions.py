"""Versions over HTTP: which there are, how good each is, and which one is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field, StrictBool

from deployments.api.access import refuse_keyless
from deployments.api.answer_schemas import AnswerBody
from deployments.api.routes import CheckedRoute
from deployments.api.schemas import Body
from deployments.api.writes import json_answer
from recsys.access.gate import Gate
from recsys.errors import BadInput, Conflict, Unavailable, VersionError
from recsys.serving.gateway import Gateway
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore

Switch = Callable[[str | None, bool], Awaitable[str]]
"""Promotes a version, or with None rolls back; the other argument is `allow_shrink`. Returns the version that is served
from now on. Raises VersionError, and Unavailable where Redis does not answer."""


class PromoteBody(Body):
    version: str = Field(max_length=128, examples=["v20261128-120000"])
    allow_shrink: StrictBool = False
    """Whether it may have less than half of the served version's items."""


class VersionOut(AnswerBody):
    version: str
    created_at: str
    items: int
    shards: int
    engine: str
    dimension: int
    recall_at_10: float | None
    served: bool
    """Whether it is the one to serve."""
    earlier: bool
    """Whether it is the one that a rollback goes back to."""
    model: str
    """Empty: it learned nothing."""
    card: dict[str, Any] | None
    """How its model was trained and how good it is; null: it has none, or was trained by an earlier build."""


class VersionsOut(AnswerBody):
    versions: list[VersionOut]
    """The newest first."""


class SwitchedOut(AnswerBody):
    version: str
    """The one to serve; GET /v1/status says when all do."""
    before: str | None


def router(gateway: Gateway, gate: Gate, switch: Switch) -> APIRouter:
    routes = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=CheckedRoute)
    store = gateway.follower.store
    switching = asyncio.Lock()

    @routes.get("/versions", response_model=VersionsOut)
    async def versions() -> Response:
        """The published versions, and how good each is by its own measurements."""
        manifests, order = await asyncio.gather(asyncio.to_thread(store.versions), asyncio.to_thread(store.served))
        return json_answer({"versions": [_out(manifest, order) for manifest in reversed(manifests)]})

    @routes.post("/promote", response_model=SwitchedOut)
    async def promote(body: PromoteBody) -> Response:
        """Serve a version from now on. It is checked first; shards load it, then composers switch. No call fails."""
        return await _switched(body.version, body.allow_shrink)

    @routes.post("/rollback", response_model=SwitchedOut)
    async def rollback() -> Response:
        """Serve again the version that was served before."""
        return await _switched(None, True)

    async def _switched(version: str | None, allow_shrink: bool) -> Response:
        refuse_keyless(gate, gateway.settings.security)
        async with switching:
            before = await asyncio.to_thread(store.current)
            if version is not None:
                await asyncio.to_thread(_refuse_unknown, store, version)
            try:
                served = await switch(version, allow_shrink)
            except VersionError as wrong:
                raise Conflict(str(wrong), field="version") from wrong
        return json_answer({"version": served, "before": before})

    return routes


async def not_here(_version: str | None, _allow_shrink: bool) -> str:
    """For an API of which nobody has said how it switches."""
    raise Unavailable("versions are not switched over HTTP here; use `recsys promote` and `recsys rollback`")


def _refuse_unknown(store: VersionStore, version: str) -> None:
    try:
        store.manifest(version)
    except VersionError as wrong:
        raise BadInput(f"version: {wrong}", field="version") from wrong


def _out(manifest: Manifest, order: list[str]) -> dict[str, Any]:
    return {
        "version": manifest.version,
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
        "items": manifest.items,
        "shards": len(manifest.shards),
        "engine": manifest.index.engine,
        "dimension": manifest.encoder.dimension,
        "recall_at_10": manifest.recall_at_10,
        "served": order[:1] == [manifest.version],
        "earlier": order[1:2] == [manifest.version],
        "model": manifest.model,
        "card": None if manifest.card is None else manifest.card.model_dump(mode="json"),
    }
