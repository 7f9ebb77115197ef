"""How long versions and their logs are kept: N served versions, and the log since the oldest version that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from recsys.state.item_log import ItemLog, after
from recsys.state.layouts import Layouts, ensure, read_layouts
from recsys.state.membership import in_use
from recsys.state.presence import everyone
from recsys.state.reencoded_vectors import Reencoded
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
    gone = await kept_no_longer(store, redis, keep)
    for version in gone:
        store.remove(version)
    return Pruned(gone, await _trim(store, redis))


async def kept_no_longer(store: VersionStore, redis: Redis, keep: int, promoting: str | None = None) -> tuple[str, ...]:
    """Return the versions that `prune` removes, oldest first. `promoting`: as if this version were served; None: as
    things are.

    Versions of a layout that is written no longer go: their log is gone, and nobody may serve them again. Of the others
    three groups stay. First, the served version and `keep` - 1 before it: those that served for _PROVEN_S or more,
    newest first, then the others, so that bad versions in quick succession do not push out a good one. Second, of the
    versions that were never served or were rolled back, the `keep` newest that are younger than _WAITS_S. Third, every
    version that a replica holds or a composer serves.
    """
    published, written = store.versions(), (await _written(store, redis)).written
    ended = {m.version for m in published if written and m.built_for not in written}
    served, seconds = [v for v in store.served() if v not in ended], store.seconds_served()
    if promoting is not None:
        served = list(dict.fromkeys([promoting, *served]))
    before = sorted(served[1:], key=lambda version: seconds.get(version, 0.0) < _PROVEN_S)  # stable: newest first
    kept = {*served[:1], *before[: keep - 1], *in_use(await everyone(redis, silent_too=True))}
    youngest = datetime.now(UTC) - timedelta(seconds=_WAITS_S)
    waiting = sorted((m.created_at, m.version) for m in published if m.version not in {*served, *ended})
    kept |= {version for built, version in waiting[-keep:] if built > youngest}
    return tuple(m.version for m in published if m.version not in kept)


async def _trim(store: VersionStore, redis: Redis) -> int:
    """Return the number of entries trimmed.

    The log of a layout that no version has yet stays whole, for the one that is built. That of a layout that is written
    no longer expires by itself.
    """
    versions, trimmed = store.versions(), 0
    fingerprints = {m.fingerprint for m in versions}
    for layout in (await _written(store, redis)).written:
        log, own = ItemLog(redis, layout.id), [m for m in versions if m.built_for == layout]
        for shard in range(layout.router.shards if own else 0):
            cursor = min((m.shards[shard].cursor for m in own), key=after)
            trimmed += await log.trim(shard, cursor)
            await Reencoded(redis, log.name(shard)).forget(cursor, fingerprints)
    return trimmed


async def _written(store: VersionStore, redis: Redis) -> Layouts:
    current = store.current()
    return await (read_layouts(redis) if current is None else ensure(redis, store.manifest(current).built_for))
