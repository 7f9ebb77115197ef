"""How long versions and their log are kept: N versions, and of the log what the oldest of them needs."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from recsys.itemlog import ItemLog, after
from recsys.presence import everyone
from recsys.versions import Manifest, VersionStore


@dataclass(frozen=True, slots=True)
class Pruned:
    versions: tuple[str, ...]
    """Removed."""
    entries: int
    """Log entries trimmed."""


async def prune(store: VersionStore, redis: Redis, keep: int) -> Pruned:
    """Remove all but the `keep` versions served last, and trim every log to what the others need.

    Versions that were never served stay while they are among the `keep` newest of their kind, and so does every one
    that a replica holds or a composer serves.
    """
    served, members = store.served(), await everyone(redis, silent_too=True)
    kept = {*served[:keep], *(v for m in members for v in m.versions), *(m.serving for m in members if m.serving)}
    current = served[0] if served else ""
    fresh = [m.version for m in store.versions() if m.version not in served and m.version > current]
    kept |= {*fresh[-keep:]}
    gone = [m.version for m in store.versions() if m.version not in kept]
    for version in gone:
        store.remove(version)
    return Pruned(tuple(gone), await _trim(store.versions(), redis))


async def _trim(versions: list[Manifest], redis: Redis) -> int:
    log, trimmed = ItemLog(redis), 0
    for shard in range(max((len(m.shards) for m in versions), default=0)):
        needed = [m.shards[shard].cursor for m in versions if shard < len(m.shards)]
        trimmed += await log.trim(shard, min(needed, key=after), {m.fingerprint for m in versions})
    return trimmed
