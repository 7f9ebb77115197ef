"""Versions that some part of a platform cannot open."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI

from deployments.api import operations, problems
from recsys.datatypes import RecQuery
from recsys.files import replace, sha256
from recsys.versions.manifest import RANKER
from recsys.versions.store import MANIFEST
from tests.support.world import World, catalogue


def small(make_world: Any, **options: Any) -> Any:
    return make_world(**({"shards": 1, "replicas": 2, "items": catalogue(3)} | options))


def unopenable(world: World) -> str:
    """A version that shards load and composers cannot open: its ranker is of a newer release."""
    version = world.publish().version
    folder = world.store.folder(version)
    (folder / RANKER).write_text("trees of a release to come\n")
    ours = world.store.manifest(version).model_copy(update={"ranker_sha256": sha256(folder / RANKER)})
    (folder / MANIFEST).write_text(ours.model_dump_json())
    return version


def damage(world: World, version: str, shard: int = 0) -> None:
    replace(world.store.folder(version) / f"shard-{shard}" / "index.bin", b"damaged")


async def answers(world: World) -> bool:
    slate = await world.gateway.recommend(RecQuery(k=5))
    return len(slate.items) == 5 and not slate.degraded


async def response_of(world: World, path: str) -> httpx.Response:
    app = FastAPI()
    app.include_router(operations.router(world.gateway))
    problems.install(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://recsys") as client:
        return await client.get(path)
