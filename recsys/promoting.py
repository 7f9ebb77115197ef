"""Switching to another version, when the platform's shards and their logs allow it."""

from __future__ import annotations

from redis.asyncio import Redis

from recsys.config import Platform
from recsys.errors import VersionError
from recsys.itemlog import ItemLog, after
from recsys.presence import everyone
from recsys.versions import Manifest, VersionStore


def reshards(store: VersionStore, platform: Platform) -> bool:
    """Whether the platform's shards are to be others than the served version's: then a promotion needs Redis."""
    current = store.current()
    return current is not None and not store.manifest(current).fits(platform)


async def promote(
    store: VersionStore, version: str, platform: Platform, redis: Redis | None = None, instead_of: str | None = None
) -> Manifest:
    """Serve this version from now on.

    Raises VersionError when it is not intact, was built for other shards than the platform's, when another one
    than `instead_of` is served by now (None: whatever is), or, where the shards change with it, when it does not hold
    all that was written.
    """
    manifest = store.manifest(version)
    _refuse_misfit(manifest, platform)
    if reshards(store, platform):
        if redis is None:
            raise VersionError(
                "the number of shards or the routing changes: Redis is needed to see that nothing is lost"
            )
        await _refuse_losses(manifest, redis)
    return store.promote(version, instead_of)


def rollback(store: VersionStore, platform: Platform) -> Manifest:
    """Serve again what was served before; VersionError as for `promote`, and when nothing was."""
    served = store.served()
    if len(served) > 1:
        _refuse_misfit(store.manifest(served[1]), platform)
    return store.rollback()


def _refuse_misfit(manifest: Manifest, platform: Platform) -> None:
    if not manifest.fits(platform):
        raise VersionError(
            f"version {manifest.version} has {len(manifest.shards)} shards and the config file has {platform.shards} "
            "or routes otherwise; build one that fits with: recsys build --from-live"
        )


async def _refuse_losses(manifest: Manifest, redis: Redis) -> None:
    if await everyone(redis):
        raise VersionError("the platform still runs with the shards of before: stop it with `recsys down` first")
    log = ItemLog(redis)
    for shard, end in enumerate(manifest.cut):
        if after(await log.last(shard)) > after(end):
            raise VersionError(
                f"items were written after version {manifest.version} was built, into a shard that is to be another; "
                "build again with --from-live"
            )
