"""Promotion and rollback: the checks that a version can be served without losing writes, then the switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from recsys.config.platform import Platform
from recsys.errors import VersionError
from recsys.state import redis_keys
from recsys.state.item_log import ItemLog
from recsys.state.layouts import ensure
from recsys.state.membership import ShardMember
from recsys.state.presence import everyone
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore

_LOCK_S = 60.0
"""Seconds after which the lock of a dead process expires. A switch reads and writes one small file."""
SHRINKS = 0.5
"""A catalogue with fewer than this share of the served version's items is taken for a mistake."""


def reshards(store: VersionStore, platform: Platform) -> bool:
    """Return whether the platform's shard count or routing differ from the served version's. A promotion then needs
    Redis.
    """
    current = store.current()
    return current is not None and not store.manifest(current).fits(platform)


def refuse_shrunken(store: VersionStore, items: int, *, allow_shrink: bool = False) -> None:
    """Raise VersionError when the next version's number of `items` is 0, or under SHRINKS of the served version's
    without `allow_shrink`.
    """
    if items == 0:
        raise VersionError("there is no item to serve: an empty catalogue is neither published nor promoted")
    current = store.current()
    before = 0 if current is None else store.manifest(current).items
    if items < SHRINKS * before and not allow_shrink:
        raise VersionError(
            f"the catalogue would shrink to {items} items, and {current}, which is served, has {before}: nothing is "
            "promoted. Are the files whole? If this is meant, say --allow-shrink"
        )


async def promote(
    store: VersionStore,
    version: str,
    platform: Platform,
    redis: Redis | None = None,
    instead_of: str | None = None,
    *,
    allow_shrink: bool = False,
    dry_run: bool = False,
) -> Manifest:
    """Serve this version from now on. `redis` None: Redis does not run, and the log is not checked. `dry_run`: make
    every check and change nothing. `instead_of`: the version that must still be served; None: any.

    Raises VersionError when
    - the version's files, item count, recall or self-lookup are wrong, or composers cannot open it;
    - its shard count or routing are not the platform's, or the platform runs without deployments for its shards;
    - its log was trimmed, or is written no longer;
    - another version than `instead_of` is served by now;
    - it has less than SHRINKS of the served version's items and `allow_shrink` is not set.
    """
    manifest = store.manifest(version)
    refuse_shrunken(store, manifest.items, allow_shrink=allow_shrink)
    _refuse_misfit(manifest, platform)
    if redis is None and reshards(store, platform):
        raise VersionError("the number of shards or the routing changes: Redis is needed to see that nothing is lost")
    await _inspected(store, manifest, redis)
    if redis is not None:
        await _refuse_without_shards(manifest, redis)
    if not dry_run:
        async with alone(redis):
            if redis is not None:
                await _refuse_ended(store, manifest, redis)
            await asyncio.to_thread(store.switch, version, instead_of)
    return manifest


async def complete(store: VersionStore, version: str, redis: Redis, instead_of: str) -> None:
    """Serve to everybody a version that `promote` has checked before, and that shards and composers hold.

    Raises VersionError when its log was trimmed since or is written no longer, or `instead_of` is not served any more.
    """
    manifest = store.manifest(version)
    await refuse_if_log_gone(manifest, redis)
    async with alone(redis):
        await _refuse_ended(store, manifest, redis)
        await asyncio.to_thread(store.switch, version, instead_of)


async def rollback(
    store: VersionStore, platform: Platform, redis: Redis | None = None, *, dry_run: bool = False
) -> Manifest:
    """Serve the previous version again, whatever its number of items. `dry_run`: make every check and change nothing.

    Raises VersionError as `promote` does, when there is no previous version, and when another version was promoted
    during the checks.
    """
    served = store.served()
    if len(served) < 2:
        raise VersionError("there is no earlier version to go back to")
    manifest = store.manifest(served[1])
    if redis is None:
        _refuse_misfit(manifest, platform)
    try:
        await _inspected(store, manifest, redis)
    except VersionError as wrong:
        raise VersionError(
            f"there is no way back to {served[1]}: {wrong}. `recsys promote` takes any of `recsys versions`"
        ) from wrong
    if not dry_run:
        async with alone(redis):
            if redis is not None:
                await _refuse_ended(store, manifest, redis)
            await asyncio.to_thread(store.go_back, served[0], served[1])
    return manifest


async def refuse_if_log_gone(manifest: Manifest, redis: Redis) -> None:
    """Raise VersionError when the log of a shard was trimmed past the version's snapshot."""
    log = ItemLog(redis, manifest.layout)
    for shard, entry in enumerate(manifest.shards):
        await log.check(shard, manifest.version, entry.cursor, manifest.created_at.timestamp())


async def _inspected(store: VersionStore, manifest: Manifest, redis: Redis | None) -> None:
    """Check the log, then the files, then the log again: the files of a large version take minutes."""
    if redis is not None:
        await _refuse_ended(store, manifest, redis)
        await refuse_if_log_gone(manifest, redis)
    from recsys.versions.opening import open_whole  # noqa: PLC0415 - what searches and ranks takes long to import

    await asyncio.to_thread(open_whole, store, manifest.version)
    if redis is not None:
        await refuse_if_log_gone(manifest, redis)


@asynccontextmanager
async def alone(redis: Redis | None) -> AsyncIterator[None]:
    """Allow one switch at a time on all machines. Without Redis, `Drafts.changing` allows one on this machine."""
    if redis is None:
        yield
        return
    async with redis.lock(redis_keys.SWITCHING, timeout=_LOCK_S, blocking_timeout=_LOCK_S):
        yield


def _refuse_misfit(manifest: Manifest, platform: Platform) -> None:
    if not manifest.fits(platform):
        raise VersionError(
            f"version {manifest.version} has {len(manifest.shards)} shards and the config file has {platform.shards} "
            "or routes otherwise; build one that fits with: recsys build --from-live"
        )


async def _refuse_ended(store: VersionStore, manifest: Manifest, redis: Redis) -> None:
    """Raise VersionError when the logs of the version's shards are written no longer, so that writes are missing."""
    current = store.current()
    if current is None:
        return
    served = store.manifest(current).built_for
    written = await ensure(redis, served)
    if manifest.built_for not in written.written:
        raise VersionError(
            f"version {manifest.version} was built for {len(manifest.shards)} shards, the served one has "
            f"{served.router.shards} or routes otherwise, and what was written since they changed is not in its log; "
            "build one that fits with: recsys build --from-live"
        )


async def _refuse_without_shards(manifest: Manifest, redis: Redis) -> None:
    """Raise VersionError when a platform runs that has no replica of one of the version's shards."""
    members = await everyone(redis)
    present = {member.shard for member in members if isinstance(member, ShardMember)}
    missing = [n for n in range(len(manifest.shards)) if n not in present]
    if present and missing:
        raise VersionError(
            f"version {manifest.version} has {len(manifest.shards)} shards and the platform runs without "
            f"shard-{missing[0]}: hand the file with these shards in with `recsys apply`"
        )
