"""Building a version of the live catalogue: the served snapshot with its log applied."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from recsys.config.whole import Config
from recsys.encoders.catalogue import Progress
from recsys.jobs.patient_redis import patient_redis
from recsys.jobs.promote import settle
from recsys.shard.snapshot import write_indexes
from recsys.versions.build import Build, Indexer
from recsys.versions.contents import forget_cut, learned_so_far, live_content
from recsys.versions.manifest import Manifest
from recsys.versions.planned import PlannedBuild
from recsys.versions.promotion import refuse_shrunken
from recsys.versions.store import VersionStore


async def compact(
    config: Config,
    redis_url: str,
    say: Progress = lambda *_: None,
    indexer: Indexer = write_indexes,
    *,
    then_promote: bool,
    allow_shrink: bool = False,
    stronger: bool = False,
    moving: bool = False,
) -> Manifest:
    """Build a version of the live catalogue. With `then_promote`, promote it and remove versions no longer kept.

    `stronger`: begin with the index setting behind the served version's, see `Build.stronger`. `moving`: the platform
    may run with other shards; see `live_content`.

    A repeated call continues an interrupted build. Raises Unavailable when Redis does not answer. Raises VersionError
    before anything is built when the catalogue is empty, or is to be promoted with less than half of the served
    version's items without `allow_shrink`. Raises VersionError, and removes the new version, when another version was
    promoted meanwhile.
    """
    platform, store = config.platform, VersionStore.of(config.platform)
    async with patient_redis(redis_url, platform, "start the same build again") as redis:
        with store.drafts.alone():
            build = replace(await asyncio.to_thread(Build.of, config, say, indexer), stronger=stronger)
            content = await live_content(store, redis, platform, build.encoder.fingerprint, say, moving=moving)
            refuse_shrunken(store, len(content.items), allow_shrink=allow_shrink or not then_promote)
            trained = learned_so_far(store, build.encoder.fingerprint)
            manifest = await asyncio.to_thread(build.publish, content, say, trained)
        await settle(
            store,
            manifest,
            platform,
            redis,
            instead_of=content.base,
            then_promote=then_promote,
            allow_shrink=allow_shrink,
        )
    return manifest


async def foreseen(
    config: Config,
    redis_url: str,
    say: Progress = lambda *_: None,
    *,
    then_promote: bool,
    allow_shrink: bool = False,
) -> PlannedBuild:
    """Return what `compact` would build from the log as it is now. Builds nothing. Raises what `compact` raises."""
    platform, store = config.platform, VersionStore.of(config.platform)
    async with patient_redis(redis_url, platform, "start the same again") as redis:
        with store.drafts.alone():
            build = await asyncio.to_thread(Build.of, config, say)
            content = await live_content(store, redis, platform, build.encoder.fingerprint, say, planned=True)
            forget_cut(store)
    return PlannedBuild.of(build, content, allow_shrink=allow_shrink or not then_promote)
