"""Moves of a World to other shards, step by step as `recsys apply` takes them."""

from __future__ import annotations

import asyncio
from typing import Any

from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.encoders.hashing import HashingEncoder
from recsys.versions.build import Build
from recsys.versions.contents import live_content
from recsys.versions.manifest import Manifest
from recsys.versions.promotion import promote
from tests.support.world import World, eventually


def with_shards(world: World, shards: int, **options: Any) -> Platform:
    """The world's platform with other shards. `options`: such as `routing`."""
    return world.platform.model_copy(update={"shards": shards, **options})


async def built_beside(world: World, platform: Platform) -> Manifest:
    """A version of what is live, for the platform's shards; both layouts are written from the start of it."""
    encoder = HashingEncoder(platform.encoder)
    with world.store.drafts.alone():
        content = await live_content(
            world.store, world.redis, platform, encoder.fingerprint, lambda *_: None, moving=True
        )
        return await asyncio.to_thread(Build(platform, world.store, encoder, 1, ShardTuning()).publish, content)


async def switched(world: World, platform: Platform, manifest: Manifest) -> None:
    """Start what shards are missing, promote the version, and wait until it is served."""
    while len(world.clients) < platform.shards:
        await world.add_shard()
    await promote(world.store, manifest.version, platform, world.redis, manifest.base)
    assert await eventually(lambda: world.follower.serve.version == manifest.version)
