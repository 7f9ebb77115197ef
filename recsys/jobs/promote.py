"""Serving another version, and what comes behind it: versions that are kept no longer are removed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config import Platform
from recsys.errors import VersionError
from recsys.jobs.patient_redis import patient_redis
from recsys.versions import promotion
from recsys.versions.manifest import Manifest
from recsys.versions.promotion import refuse_if_log_gone
from recsys.versions.retention import kept_no_longer, prune
from recsys.versions.store import VersionStore

_STAYS = "without it nobody knows whether the version's log is there, and the served version stays"

log = logging.getLogger(__name__)


async def promote(
    version: str,
    platform: Platform,
    redis_url: str | None,
    instead_of: str | None = None,
    *,
    allow_shrink: bool = False,
) -> Manifest:
    """Serve a version from now on. `redis_url` None: nothing was ever written, so there is no log to look at.

    `instead_of`, `allow_shrink`, and VersionError: see `promotion.promote`. Raises Unavailable when Redis does not
    answer.
    """
    store = VersionStore.of(platform)
    if redis_url is None:
        return await promotion.promote(store, version, platform, None, instead_of, allow_shrink=allow_shrink)
    async with patient_redis(redis_url, platform, _STAYS) as redis:
        return await _promoted(store, version, platform, redis, instead_of, allow_shrink=allow_shrink)


async def rollback(platform: Platform, redis_url: str | None) -> Manifest:
    """Serve again what was served before. `redis_url`: as for `promote`; errors: see `promotion.rollback`."""
    store = VersionStore.of(platform)
    if redis_url is None:
        return await promotion.rollback(store, platform)
    async with patient_redis(redis_url, platform, _STAYS) as redis:
        return await promotion.rollback(store, platform, redis)


@dataclass(frozen=True, slots=True)
class Switch:
    """What a promotion or a rollback would do."""

    manifest: Manifest
    """Of the version that would be served."""
    before: str | None
    """The one that is served; None: none is."""
    gone: tuple[str, ...]
    """Versions that would be removed."""


async def foreseen(
    version: str | None, platform: Platform, redis_url: str | None, *, allow_shrink: bool = False
) -> Switch:
    """Look at all that a promotion of the version looks at, and change nothing. `version` None: of a rollback.

    Errors: as of `promote` and `rollback`.
    """
    store = VersionStore.of(platform)
    before = store.current()
    if redis_url is None:
        return Switch(await _looked_at(store, version, platform, None, allow_shrink=allow_shrink), before, ())
    async with patient_redis(redis_url, platform, _STAYS) as redis:
        manifest = await _looked_at(store, version, platform, redis, allow_shrink=allow_shrink)
        gone = await kept_no_longer(store, redis, platform.keep_versions, version) if version is not None else ()
    return Switch(manifest, before, gone)


async def _looked_at(
    store: VersionStore, version: str | None, platform: Platform, redis: Redis | None, *, allow_shrink: bool
) -> Manifest:
    if version is None:
        return await promotion.rollback(store, platform, redis, dry_run=True)
    return await promotion.promote(store, version, platform, redis, allow_shrink=allow_shrink, dry_run=True)


async def settle(
    store: VersionStore,
    manifest: Manifest,
    platform: Platform,
    redis: Redis,
    *,
    instead_of: str | None,
    then_promote: bool,
    allow_shrink: bool = False,
) -> None:
    """What comes behind a build of what is live: promote it if that is wanted, else see that its log is still there.

    A version that must not be served is removed, for nobody waits for it. Raises VersionError, as `promote`.
    """
    try:
        if then_promote:
            await _promoted(store, manifest.version, platform, redis, instead_of, allow_shrink=allow_shrink)
        else:
            await refuse_if_log_gone(manifest, redis)
    except VersionError:
        await asyncio.to_thread(store.remove, manifest.version)
        raise


async def _promoted(
    store: VersionStore,
    version: str,
    platform: Platform,
    redis: Redis,
    instead_of: str | None,
    *,
    allow_shrink: bool,
) -> Manifest:
    manifest = await promotion.promote(store, version, platform, redis, instead_of, allow_shrink=allow_shrink)
    try:
        await prune(store, redis, platform.keep_versions)
    except (RedisError, OSError) as error:  # it is served all the same, and the next promotion tries again
        log.warning("%s is served; versions that are kept no longer were not removed: %s", version, error)
    return manifest
