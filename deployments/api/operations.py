"""Health and status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from fastapi import APIRouter, Response
from msgspec import structs
from redis.exceptions import RedisError

from deployments.api.routes import CheckedRoute
from recsys.errors import Unavailable
from recsys.serving.gateway import Gateway
from recsys.state.membership import ShardMember


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(tags=["operations"], route_class=CheckedRoute)

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @routes.get("/readyz")
    async def readyz() -> dict[str, str]:
        """A version is served, and a shard holds it; 503 otherwise."""
        if not gateway.follower.can_answer():
            raise Unavailable(f"no shard holds version {gateway.follower.serve.version}")
        return {"status": "ready", "index_version": gateway.follower.serve.version}

    @routes.get("/v1/status")
    async def status() -> Response:
        """Versions, replicas, and how far each has applied its log."""
        return Response(orjson.dumps(await state_of(gateway)), media_type="application/json")

    return routes


async def state_of(gateway: Gateway) -> dict[str, Any]:
    """The answer of GET /v1/status."""
    serve, manifest = gateway.follower.serve, gateway.follower.manifest
    degraded: list[str] = []
    rebuilt: Mapping[str, Any] = {}
    retrained: Mapping[str, Any] = {}
    refused: Mapping[str, str] = {}
    try:
        await gateway.follower.members.refresh()
        rebuilt, retrained = await gateway.unattended()
        refused = await gateway.refused_settings()
    except (RedisError, OSError):
        degraded = ["redis"]
    members, edit = gateway.follower.members, gateway.scenarios.edit
    degraded += sorted({wish.partition(":")[0] for wish in gateway.follower.rebuilds_asked_for()})
    shards: list[dict[str, Any]] = []
    for number in range(max([serve.layout.router.shards, *(n + 1 for n in members.group)])):
        replicas = [_replica(member, serve.version) for member in members.replicas(number)]
        shards.append({"shard": number, "replicas": replicas})
    composers = [{"id": m.id, "serving": m.serving} for m in members.composers]
    return {
        "index_version": serve.version,
        "promoted_version": gateway.follower.promoted,
        "rejected": [
            {"version": version, "by": m.id, "reason": reason}
            for m in members.all
            for version, reason in m.rejected.items()
        ],
        "model_version": serve.model,
        "encoder_fingerprint": serve.fingerprint,
        "recall_at_10": manifest.recall_at_10 if manifest else None,
        "items": sum(max((r["items"] for r in s["replicas"]), default=0) for s in shards),
        "shards": shards,
        "composers": composers,
        "last_rebuild": rebuilt or None,
        "last_retraining": retrained or None,
        "refused_settings": refused,
        "edited_scenarios": sorted(edit.scenarios),
        "scenario_edit": {"version": edit.version, "author": edit.author, "at": edit.at} if edit.version else None,
        "degraded": degraded,
    }


def _replica(member: ShardMember, served: str) -> dict[str, Any]:
    state = member.versions.get(served)
    return {
        "id": member.id,
        "items": state.items if state else 0,
        "versions": {version: state.cursor for version, state in member.versions.items()},
        "drift": msgspec.to_builtins(state.drift) if state else None,
        "recall": structs.asdict(state.recall) if state and state.recall else None,
    }
