"""Applying the item log to a shard: the same entries in the same order in every replica, to the same result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import numpy as np
from redis.asyncio import Redis

from recsys.datatypes import Floats, Item
from recsys.errors import Rewound, Unavailable
from recsys.serving.encoder_calls import Encode
from recsys.serving.popularity_feed import prolong_held
from recsys.shard.fresh_rows import MOST
from recsys.shard.shard import Shard
from recsys.state.item_counts import Counts, read
from recsys.state.item_log import Delete, Entry, ItemLog, Upsert
from recsys.state.reencoded_vectors import Reencoded

TOGETHER = 128
"""Entries applied before the replica writes its record: some milliseconds of work, for which a write behind them waits.
"""

log = logging.getLogger(__name__)


class LogApplier:
    """Follows one shard's log in the layout of a version that a replica holds."""

    def __init__(self, number: int, layout: str, redis: Redis, encode: Encode) -> None:
        """`layout`: its id."""
        self._number = number
        self._redis = redis
        self._log = ItemLog(redis, layout)
        self._stored = Reencoded(redis, self._log.name(number))
        self._encode = encode

    async def check(self, version: str, cursor: str, built_at: float) -> None:
        """Raises VersionError when the log no longer holds all that comes behind a snapshot's cursor. See `ItemLog`."""
        await self._log.check(self._number, version, cursor, built_at)

    async def catch_up(self, shard: Shard, fingerprint: str, wait_ms: int | None = None) -> list[Entry]:
        """Apply up to 128 entries of the log behind the shard's cursor. Return those that were applied.

        `fingerprint`: of the version's encoder. `wait_ms`: how long to wait for an entry; None: not at all. Raises
        Rewound when the shard holds changes that the log has lost. Items that came are fresh rows then; where too many
        of these wait, some are linked first.
        """
        if shard.fresh.waiting + TOGETHER > MOST:
            await asyncio.to_thread(shard.fresh.link, TOGETHER)
        entries = await self._log.read(self._number, shard.cursor, limit=TOGETHER, wait_ms=wait_ms)
        # Asked after the reading: then the entries that were read are of the log in which the cursor was reached.
        if not entries:
            if not await self._log.holds(self._number, shard.cursor):
                await self._rewound(shard)
            return entries
        foreign = [e for e in entries if isinstance(e.change, Upsert) and e.change.fingerprint != fingerprint]
        reencoded = await self._reencoded(shard.version, foreign, fingerprint) if foreign else {}
        async with shard.changing:
            # Likes may be older than the item: it was deleted and comes back, or its events came first.
            ids = dict.fromkeys(e.change.item.item_id for e in entries if isinstance(e.change, Upsert))
            # Both at once: a write that waits to be visible waits for each round trip.
            unbroken, counts = await asyncio.gather(
                self._log.holds(self._number, shard.cursor), read(self._redis, list(ids))
            )
            if not unbroken:
                await self._rewound(shard)
            await asyncio.to_thread(_apply, shard, entries, reencoded, counts)
        shard.cursor = entries[-1].sequence
        await prolong_held(self._redis, counts, shard)
        return entries

    async def _rewound(self, shard: Shard) -> None:
        if shard.cursor != shard.snapshot:
            raise Rewound(
                f"version {shard.version} has applied the log of shard-{self._number} to {shard.cursor}, and Redis has "
                "lost that entry"
            )
        if await self._log.restore(self._number, shard.cursor):
            log.warning(
                "the log of shard-%d ended before %s, up to which version %s holds it: Redis has lost its tail, or is "
                "another one; changes that came later are lost",
                self._number,
                shard.cursor,
                shard.version,
            )

    async def _reencoded(self, version: str, entries: Sequence[Entry], fingerprint: str) -> dict[str, Floats]:
        """Vectors of entries that another encoder made, by sequence number: those stored in Redis, and new ones."""
        sequences = [e.sequence for e in entries]
        kept = await self._stored.vectors(fingerprint, sequences)
        texts = {
            e.sequence: e.change.item.passage()
            for e in entries
            if isinstance(e.change, Upsert) and e.sequence not in kept
        }
        if not texts:
            return kept
        try:
            vectors = await self._encode(version, list(texts.values()))
        except Exception as error:  # whatever a remote call fails with, the log waits until it succeeds
            raise Unavailable(f"no encoder answers for version {version}: {error}") from error
        await self._stored.keep(fingerprint, dict(zip(texts, np.asarray(vectors, np.float32), strict=True)))
        return kept | await self._stored.vectors(fingerprint, list(texts))


def _apply(shard: Shard, entries: Sequence[Entry], reencoded: dict[str, Floats], counts: Counts) -> None:
    upserts: list[tuple[Item, Floats]] = []
    deletes: list[str] = []
    for entry in entries:
        change = entry.change
        if isinstance(change, Upsert):
            _delete(shard, deletes)
            upserts.append((change.item, reencoded.get(entry.sequence, change.vector)))
        elif isinstance(change, Delete):
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
