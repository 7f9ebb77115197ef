"""Reading the log of answers and outcomes, in slots of ten seconds that nothing is added to any more.

A slot is a span of entries' ids, which are Redis' clock in milliseconds. Before it is read the stream is told that its
next id lies behind the slot, so a clock that is set back, or a failover, adds nothing to it. Whoever reads a slot thus
reads the same. It is dropped only as a whole, when it is in a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from recsys.state import redis_keys
from recsys.state.redis_keys import Key

SLOT_MS = 10_000
_PAGE = 50
"""Entries read at a time: at most ten thousand answers, some MB."""

_OLDEST = """
-- KEYS: stream; ARGV: milliseconds of a slot. Returns where the oldest slot with an entry begins, as text, and the id
-- of that entry; nothing where there is none or its slot is not over.
local call = redis.call
local first = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then return {} end
local function milliseconds(id) return tonumber(string.match(id, '^%d+')) end
local slot = tonumber(ARGV[1])
local from = math.floor(milliseconds(first[1]) / slot) * slot
local over, time = from + slot, call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) < over then return {} end
local about = call('XINFO', 'STREAM', KEYS[1])
for i = 1, #about, 2 do
  if about[i] == 'last-generated-id' and milliseconds(about[i + 1]) < over then
    call('XSETID', KEYS[1], string.format('%.0f-0', over))
  end
end
return {string.format('%.0f', from), first[1]}
"""

_TRIM = """
-- KEYS: stream, its waiting; ARGV: first id that stays, rows of what goes. Of two who trim one slot the first counts.
local call = redis.call
if call('XTRIM', KEYS[1], 'MINID', ARGV[1]) == 0 then return 0 end
local left = call('HINCRBY', KEYS[2], 'rows', -ARGV[2])
if left < 0 or call('XLEN', KEYS[1]) == 0 then call('HSET', KEYS[2], 'rows', 0) end
return 1
"""


@dataclass(frozen=True, slots=True)
class StreamEntry:
    id: str
    rows: int
    lost: int
    users: bytes
    """8 bytes for each row, see `slate_log.py`."""
    body: bytes
    """`data` or `events`."""


@dataclass(frozen=True, slots=True)
class Slot:
    """All entries of a slot, oldest first."""

    begins_ms: int
    entries: tuple[StreamEntry, ...]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.entries)


class SlateStream:
    """One of the two streams."""

    def __init__(self, redis: Redis, stream: Key) -> None:
        self.name = stream
        self._redis = redis
        self._oldest = redis.register_script(_OLDEST)
        self._trim = redis.register_script(_TRIM)

    async def oldest(self) -> Slot | None:
        """The oldest slot that is over and has entries; None where there is none, or another process has just dropped
        it.
        """
        oldest: Any = await self._oldest(keys=[self.name], args=[SLOT_MS])
        if not oldest:
            return None
        begins_ms, first = int(oldest[0]), oldest[1].decode()
        entries: list[StreamEntry] = []
        start, end = first, f"{begins_ms + SLOT_MS - 1}"
        while True:
            page: Any = await self._redis.xrange(self.name, start, end, _PAGE)
            if not page:
                break
            entries += [entry_of(at.decode(), fields) for at, fields in page]
            start = f"({entries[-1].id}"
        if not await self._redis.xrange(self.name, first, first):  # dropped meanwhile: some pages may be missing
            return None
        return Slot(begins_ms, tuple(entries))

    async def drop(self, slot: Slot) -> None:
        """Drop a slot that is in a file."""
        keys = [self.name, redis_keys.waiting(self.name)]
        await self._trim(keys=keys, args=[f"{slot.begins_ms + SLOT_MS}-0", slot.rows])

    async def lag_s(self) -> float:
        """Seconds since the oldest entry that waits; 0.0 where none does."""
        first: Any = await self._redis.xrange(self.name, count=1)
        if not first:
            return 0.0
        seconds, microseconds = await self._redis.time()
        return max(0.0, seconds + microseconds / 1e6 - int(first[0][0].split(b"-")[0]) / 1000)


def entry_of(at: str, fields: dict[bytes, bytes]) -> StreamEntry:
    body = fields[b"data"] if b"data" in fields else fields[b"events"]
    return StreamEntry(at, int(fields[b"rows"]), int(fields[b"lost"]), fields[b"users"], body)
