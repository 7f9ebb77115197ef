"""A version of what is live: the served snapshot with its log applied."""

from __future__ import annotations

import asyncio

from recsys.config import Config
from recsys.encoders.catalogue import Progress
from recsys.jobs.patient_redis import patient_redis
from recsys.jobs.promote import settle
from recsys.shard.snapshot import write_indexes
from recsys.versions.build import Build, Indexer
from recsys.versions.contents import learned_so_far, live_content
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore


async def compact(
    config: Config,
    redis_url: str,
    say: Progress = lambda *_: None,
    indexer: Indexer = write_indexes,
    *,
    then_promote: bool,
) -> Manifest:
    """Build a version of what is live, promote it if that is wanted, and drop versions that are kept no longer.

    Raises VersionError, and leaves no version behind, when another one than it was built of is served by the end;
    Unavailable when Redis is away. The same call again goes on where a build that died was.
    """
    platform, store = config.platform, VersionStore.of(config.platform)
    async with patient_redis(redis_url, platform, "start the same build again") as redis:
        with store.drafts.alone():
            build = await asyncio.to_thread(Build.of, config, say, indexer)
            content = await live_content(store, redis, platform, build.encoder.fingerprint, say)
            trained = learned_so_far(store, build.encoder.fingerprint)
            manifest = await asyncio.to_thread(build.publish, content, say, trained)
        await settle(store, manifest, platform, redis, instead_of=content.base, then_promote=then_promote)
    return manifest
