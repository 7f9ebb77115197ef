"""Applying the item log to a shard: the same entries in the same order in every replica, to the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from redis.asyncio import Redis

from recsys import keys
from recsys.datatypes import Floats, Item
from recsys.errors import Unavailable
from recsys.itemlog import Entry, ItemLog, Upsert
from recsys.popularity import Counts, PopularityFeed
from recsys.shard import Shard

Encode = Callable[[str, Sequence[str]], Awaitable[Floats]]
"""(version, texts) -> (n, d) vectors by that version's encoder."""

_TOGETHER = 128
"""Entries applied before the replica says how far it is: about 60 ms of work, which a write behind them waits."""


class LogApplier:
    """Follows one shard's log for the versions that a replica holds."""

    def __init__(self, number: int, redis: Redis, encode: Encode) -> None:
        self._number = number
        self._redis = redis
        self._log = ItemLog(redis)
        self._encode = encode

    async def check(self, version: str, cursor: str) -> None:
        """Raises VersionError when the log no longer holds all that comes behind a snapshot's cursor."""
        await self._log.check(self._number, version, cursor)

    async def catch_up(self, shard: Shard, fingerprint: str, wait_ms: int | None = None) -> list[Entry]:
        """Apply what the log holds behind the shard's cursor; what was applied.

        `fingerprint`: of the version's encoder. `wait_ms`: how long to wait for an entry; None: not at all.
        """
        entries = await self._log.read(self._number, shard.cursor, limit=_TOGETHER, wait_ms=wait_ms)
        if entries:
            foreign = [e for e in entries if isinstance(e.change, Upsert) and e.change.fingerprint != fingerprint]
            made = await self._reencoded(shard.version, foreign, fingerprint) if foreign else {}
            async with shard.changing:
                # Likes may be older than the item: it was deleted and comes back, or its events came first.
                ids = dict.fromkeys(e.change.item.item_id for e in entries if isinstance(e.change, Upsert))
                counts = await PopularityFeed(self._redis).of(list(ids))
                await asyncio.to_thread(_apply, shard, entries, made, counts)
            shard.cursor = entries[-1].sequence
        return entries

    async def _reencoded(self, version: str, entries: Sequence[Entry], fingerprint: str) -> dict[str, Floats]:
        """Vectors of entries that another encoder made, by sequence number.

        The last bits of a vector depend on the texts that it was encoded with. So the first replica to make one keeps
        it beside the log, and all take what is kept there.
        """
        key = keys.reencoded(self._number, fingerprint)
        known: dict[str, Floats] = {}
        missing = [e.sequence for e in entries]
        texts = {e.sequence: e.change.item.passage() for e in entries if isinstance(e.change, Upsert)}
        for attempt in range(2):
            kept: list[Any] = await self._redis.hmget(key, missing)
            known |= {s: np.frombuffer(v, np.float32) for s, v in zip(missing, kept, strict=True) if v is not None}
            missing = [s for s in missing if s not in known]
            if not missing or attempt:
                break
            try:
                vectors = await self._encode(version, [texts[s] for s in missing])
            except Exception as error:  # whatever a remote call fails with, the log waits until it succeeds
                raise Unavailable(f"no encoder answers for version {version}: {error}") from error
            pipe = self._redis.pipeline(transaction=False)
            for sequence, vector in zip(missing, np.asarray(vectors, np.float32), strict=True):
                pipe.hsetnx(key, sequence, vector.tobytes())
            await pipe.execute()
        return known


def _apply(shard: Shard, entries: Sequence[Entry], reencoded: dict[str, Floats], counts: Counts) -> None:
    upserts: list[tuple[Item, Floats]] = []
    deletes: list[str] = []
    for entry in entries:
        change = entry.change
        if isinstance(change, Upsert):
            _delete(shard, deletes)
            upserts.append((change.item, reencoded.get(entry.sequence, change.vector)))
        else:
            _upsert(shard, upserts)
            deletes.append(change.item_id)
    _delete(shard, deletes)
    _upsert(shard, upserts)
    shard.count(counts)


def _upsert(shard: Shard, waiting: list[tuple[Item, Floats]]) -> None:
    if waiting:
        shard.upsert([item for item, _ in waiting], np.stack([vector for _, vector in waiting]))
        waiting.clear()


def _delete(shard: Shard, waiting: list[str]) -> None:
    if waiting:
        shard.delete(waiting)
        waiting.clear()
