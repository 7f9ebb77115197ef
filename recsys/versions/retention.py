"""How long versions and their log are kept: N versions that served well, and of the log what the oldest needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from recsys.state.item_log import ItemLog, after
from recsys.state.membership import in_use
from recsys.state.presence import everyone
from recsys.state.reencoded_vectors import Reencoded
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore

_WAITS_S = 30 * 86400.0
"""Seconds that a version waits for its promotion. Until then the log is kept from its snapshot on."""


_PROVEN_S = 600.0
"""Seconds of service after which a version counts as good: who promotes one that is bad sees it sooner."""


@dataclass(frozen=True, slots=True)
class Pruned:
    versions: tuple[str, ...]
    """Removed."""
    entries: int
    """Log entries trimmed."""


async def prune(store: VersionStore, redis: Redis, keep: int) -> Pruned:
    """Remove all versions but those that are kept, see `kept_no_longer`, and trim every log to what the others need."""
    published = store.versions()
    gone = await kept_no_longer(store, redis, keep)
    for version in gone:
        store.remove(version)
    return Pruned(gone, await _trim(store.versions(), published, redis))


async def kept_no_longer(store: VersionStore, redis: Redis, keep: int, promoting: str | None = None) -> tuple[str, ...]:
    """The versions that `prune` removes, oldest first. `promoting`: as if this one were served; None: as things are.

    `keep` served versions stay, the one that is served among them: of those served before, first the ones that served
    for _PROVEN_S or more, newest first, then the others. So bad versions in quick succession do not drive out a good
    one. Versions that were never served, or were rolled back, stay while they are among the `keep` newest of their kind
    and younger than _WAITS_S. Every version stays that a replica holds or a composer serves.
    """
    served, seconds = store.served(), store.seconds_served()
    if promoting is not None:
        served = list(dict.fromkeys([promoting, *served]))
    before = sorted(served[1:], key=lambda version: seconds.get(version, 0.0) < _PROVEN_S)  # stable: newest first
    kept = {*served[:1], *before[: keep - 1], *in_use(await everyone(redis, silent_too=True))}
    published, youngest = store.versions(), datetime.now(UTC) - timedelta(seconds=_WAITS_S)
    waiting = sorted((m.created_at, m.version) for m in published if m.version not in served)
    kept |= {version for built, version in waiting[-keep:] if built > youngest}
    return tuple(m.version for m in published if m.version not in kept)


async def _trim(versions: list[Manifest], before: list[Manifest], redis: Redis) -> int:
    """How many entries went. `before`: the versions of before this pruning, which may have had more shards."""
    if not versions:
        return 0
    log, trimmed = ItemLog(redis), 0
    fingerprints = {m.fingerprint for m in versions}
    known = {*range(max((max(len(m.shards), len(m.cut)) for m in before), default=0)), *await log.shards()}
    for shard in sorted(known):
        needed = [m.shards[shard].cursor for m in versions if shard < len(m.shards)]
        # A shard that no version has: the platform has fewer than it had, and nobody reads its log again.
        cursor = min(needed, key=after) if needed else await log.end(shard)
        trimmed += await log.trim(shard, cursor)
        await Reencoded(redis, shard).forget(cursor, fingerprints if needed else ())
    return trimmed
