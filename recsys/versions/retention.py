"""How long versions and their logs are kept: N served versions, and the log since the oldest version that is kept."""

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
"""Seconds for which a version that was not promoted is kept, with the log since its snapshot."""
_PROVEN_S = 600.0
"""Seconds of service after which a version counts as good. A bad one is noticed and replaced sooner."""


@dataclass(frozen=True, slots=True)
class Pruned:
    versions: tuple[str, ...]
    """Removed."""
    entries: int
    """Log entries trimmed."""


async def prune(store: VersionStore, redis: Redis, keep: int) -> Pruned:
    """Remove the versions that `kept_no_longer` names. Trim every log to the entries that the others need."""
    published = store.versions()
    gone = await kept_no_longer(store, redis, keep)
    for version in gone:
        store.remove(version)
    return Pruned(gone, await _trim(store.versions(), published, redis))


async def kept_no_longer(store: VersionStore, redis: Redis, keep: int, promoting: str | None = None) -> tuple[str, ...]:
    """Return the versions that `prune` removes, oldest first. `promoting`: as if this version were served; None: as
    things are.

    Three groups stay. First, the served version and `keep` - 1 before it: those that served for _PROVEN_S or more,
    newest first, then the others, so that bad versions in quick succession do not push out a good one. Second, of the
    versions that were never served or were rolled back, the `keep` newest that are younger than _WAITS_S. Third, every
    version that a replica holds or a composer serves.
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
    """Return the number of entries trimmed. `before`: the versions before this pruning; they may have more shards."""
    if not versions:
        return 0
    log, trimmed = ItemLog(redis), 0
    fingerprints = {m.fingerprint for m in versions}
    shards = {*range(max((max(len(m.shards), len(m.cut)) for m in before), default=0)), *await log.shards()}
    for shard in sorted(shards):
        needed = [m.shards[shard].cursor for m in versions if shard < len(m.shards)]
        # No version has this shard: the shard count was reduced, and nobody reads its log again.
        cursor = min(needed, key=after) if needed else await log.end(shard)
        trimmed += await log.trim(shard, cursor)
        await Reencoded(redis, shard).forget(cursor, fingerprints if needed else ())
    return trimmed
