"""Promotion and rollback, and the removal of versions that are no longer kept."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.platform import Platform
from recsys.errors import VersionError
from recsys.jobs.patient_redis import patient_redis
from recsys.versions import promotion
from recsys.versions.manifest import Manifest
from recsys.versions.moving import try_to_end
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
    """Serve a version from now on. `redis_url` None: nothing was ever written, so there is no log to check.

    `instead_of`, `allow_shrink` and VersionError: see `promotion.promote`. Raises Unavailable when Redis does not
    answer.
    """
    store = VersionStore.of(platform)
    if redis_url is None:
        return await promotion.promote(store, version, platform, None, instead_of, allow_shrink=allow_shrink)
    async with patient_redis(redis_url, platform, _STAYS) as redis:
        return await _promoted(store, version, platform, redis, instead_of, allow_shrink=allow_shrink)


async def rollback(platform: Platform, redis_url: str | None) -> Manifest:
    """Serve the previous version again. `redis_url`: see `promote`. Errors: see `promotion.rollback`."""
    store = VersionStore.of(platform)
    if redis_url is None:
        return await promotion.rollback(store, platform)
    async with patient_redis(redis_url, platform, _STAYS) as redis:
        return await promotion.rollback(store, platform, redis)


@dataclass(frozen=True, slots=True)
class Switch:
    """The effect of a promotion or a rollback."""

    manifest: Manifest
    """The version that would be served."""
    before: str | None
    """The version that is served now. None: no version is served."""
    gone: tuple[str, ...]
    """Versions that would be removed."""


async def foreseen(
    version: str | None, platform: Platform, redis_url: str | None, *, allow_shrink: bool = False
) -> Switch:
    """Make every check of a promotion, or of a rollback if `version` is None, and change nothing.

    Raises what `promote` and `rollback` raise.
    """
    store = VersionStore.of(platform)
    before = store.current()
    if redis_url is None:
        return Switch(await _checked(store, version, platform, None, allow_shrink=allow_shrink), before, ())
    async with patient_redis(redis_url, platform, _STAYS) as redis:
        manifest = await _checked(store, version, platform, redis, allow_shrink=allow_shrink)
        gone = await kept_no_longer(store, redis, platform.keep_versions, version) if version is not None else ()
    return Switch(manifest, before, gone)


async def _checked(
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
    """Complete a build of the live catalogue: promote it, or check that its log was not trimmed.

    A version that cannot be served is removed. Raises VersionError as `promote` does.
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
        await try_to_end(store, redis)  # with the platform down nobody serves the shards of before
        await prune(store, redis, platform.keep_versions)
    except (RedisError, OSError) as error:  # the version is served, and the next promotion prunes again
        log.warning("%s is served; versions that are kept no longer were not removed: %s", version, error)
    return manifest
