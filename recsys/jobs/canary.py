"""Sends a version out to a part of the users first. The composers lead it from there, see `serving/canary_guard.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis.asyncio import Redis

from recsys.config.canary import Canary
from recsys.config.platform import Platform
from recsys.errors import VersionError
from recsys.jobs.patient_redis import patient_redis
from recsys.state.canary_record import CanaryRecord, CanaryRecords
from recsys.versions import promotion
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore


async def send_out(
    version: str,
    platform: Platform,
    redis_url: str,
    settings: Canary,
    first: Sequence[float] = (),
    *,
    allow_shrink: bool = False,
    dry_run: bool = False,
) -> tuple[Manifest, CanaryRecord]:
    """Begin, after all the checks of a promotion. `first`: shares of the users instead of `settings.steps`.

    Raises VersionError as a promotion does, when the version is served already, and while another one goes out;
    Unavailable when Redis does not answer.
    """
    async with patient_redis(redis_url, platform, "the served version stays; try again") as redis:
        store = VersionStore.of(platform)
        return await begin(store, version, platform, redis, settings, first, allow_shrink=allow_shrink, dry_run=dry_run)


async def begin(
    store: VersionStore,
    version: str,
    platform: Platform,
    redis: Redis,
    settings: Canary,
    first: Sequence[float] = (),
    *,
    allow_shrink: bool = False,
    dry_run: bool = False,
) -> tuple[Manifest, CanaryRecord]:
    """See `send_out`."""
    base = store.current()
    if base is None or promotion.reshards(store, platform):
        raise VersionError("there is no served version with these shards to go out beside; promote it to all")
    if base == version:
        raise VersionError(f"version {version} is served to everybody already")
    manifest = await promotion.promote(store, version, platform, redis, allow_shrink=allow_shrink, dry_run=True)
    records = CanaryRecords(redis)
    steps = tuple(first) or settings.steps
    record = CanaryRecord(version, base, steps, settings.step_s, (), time.time(), allow_shrink)
    if not dry_run and not await records.start(record):
        other = await records.read()
        name = "another version" if other is None else f"version {other.version}"
        raise VersionError(f"{name} is on its way to the users; wait for its end, or promote one to all")
    return manifest, record
