"""Builds of what a world serves at the moment."""

from __future__ import annotations

from typing import Any

from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.datatypes import RecQuery
from recsys.encoders.hashing import HashingEncoder
from recsys.versions.build import Build
from recsys.versions.contents import live_content
from recsys.versions.manifest import Manifest
from tests.support.world import World, eventually


async def build_live(world: World, platform: Platform | None = None, encoder: Any = None) -> Manifest:
    chosen = platform or world.platform
    encoder = encoder or HashingEncoder(chosen.encoder)
    with world.store.drafts.alone():
        content = await live_content(world.store, world.redis, chosen, encoder.fingerprint, lambda *_: None)
        return Build(chosen, world.store, encoder, 1, ShardTuning()).publish(content)


async def everything(world: World) -> dict[str, str]:
    """Title by id of all that can be recommended."""
    slate = await world.gateway.recommend(RecQuery(k=1000, include_seen=True))
    assert slate.degraded == ()
    return {r.item_id: r.title for r in slate.items}


async def serve(world: World, version: str) -> None:
    world.store.promote(version)
    assert await eventually(lambda: world.follower.serve.version == version)
