"""The item log: one Redis Stream a shard. What stands in it is acknowledged; replicas apply it in order.

Shards of another layout have other logs, see `layouts.py`.

An entry is `op` (upsert, delete, mark), `id`, and for an upsert `doc` (the item as JSON), `vec` (float32 bytes) and
`enc` (fingerprint of the encoder that made the vector, so that a version of another encoder knows to make its own).

A cursor is the sequence number of the entry that was applied last. This module alone says where a log ends and whether
a cursor can be read on from:

- The log was trimmed past the cursor: entries behind it are gone for good, and `check` refuses the version.
- The cursor's entry is missing and was not trimmed: `holds` is False. Redis lost the tail of the log, or is another
  one. Whoever applied lost entries starts again from a snapshot.
- A snapshot's cursor is ahead of the log's end: `restore` marks it, so that what is written next comes behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from recsys.datatypes import Floats, Item
from recsys.errors import VersionError
from recsys.routing import FIRST, log_name
from recsys.state import redis_keys

if TYPE_CHECKING:  # see `item_counts.py`
    from redis.asyncio import Redis

START_OF_LOG = "0-0"
"""Redis Streams' id before every entry."""

_HOLDS = """
-- KEYS: log, trimmed; ARGV: cursor, the log's name. Every replica asks several times a second: the entry stays here.
local trimmed = redis.call('HGET', KEYS[2], ARGV[2])
return {#redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]), trimmed or '0-0'}
"""


@dataclass(frozen=True, slots=True)
class Upsert:
    item: Item
    vector: Floats
    """(d,) float32, unit length."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Delete:
    item_id: str


Change = Upsert | Delete


@dataclass(frozen=True, slots=True)
class Entry:
    sequence: str
    """Id in the stream; comparable with `after`."""
    change: Change | None
    """None: a mark, which changes nothing."""


class LogId(NamedTuple):
    """The log of one shard in one layout."""

    layout: str
    shard: int


class ItemLog:
    """The logs of one layout."""

    def __init__(self, redis: Redis, layout: str = FIRST) -> None:
        self._redis = redis
        self.layout = layout
        self._holds = redis.register_script(_HOLDS)

    def name(self, shard: int) -> str:
        """See `routing.log_name`."""
        return log_name(shard, self.layout)

    def _key(self, shard: int) -> redis_keys.Key:
        return redis_keys.log(shard, self.layout)

    async def append(self, changes: Sequence[tuple[int, Change]]) -> list[str]:
        """Write (shard, change) pairs in one transaction, all or none. Return their sequence numbers."""
        pipe = self._redis.pipeline(transaction=True)
        for shard, change in changes:
            pipe.xadd(self._key(shard), fields_of(change))
        return [sequence.decode() for sequence in await pipe.execute()]

    async def read(self, shard: int, cursor: str, *, limit: int = 512, wait_ms: int | None = None) -> list[Entry]:
        """Up to `limit` entries behind the cursor, oldest first.

        `wait_ms`: milliseconds to wait for the first; None: do not wait.
        """
        answer: Any = await self._redis.xread({self._key(shard): cursor}, count=limit, block=wait_ms)
        return [Entry(at.decode(), change_of(fields)) for _, entries in answer or [] for at, fields in entries]

    async def length(self, shard: int) -> int:
        """Number of entries in the shard's log."""
        return int(await self._redis.xlen(self._key(shard)))

    async def end(self, shard: int, at_least: str = START_OF_LOG) -> str:
        """Sequence number of the newest entry that there ever was; START_OF_LOG before the first.

        An entry that was trimmed counts: a version that is built when the log is empty stands behind the trimmed
        entries. `at_least`: a cursor that was reached for certain, such as that of the snapshot that a build starts
        from. It is the end where Redis has lost later entries.
        """
        log = LogId(self.layout, shard)
        return (await ends(self._redis, {log: at_least}))[log]

    async def newest(self, shards: Sequence[int]) -> list[str]:
        """Sequence number of the newest entry that each shard's log holds now; START_OF_LOG where it is empty."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in shards:
            pipe.xrevrange(self._key(shard), count=1)
        return [_text(entries[0][0]) if entries else START_OF_LOG for entries in await pipe.execute()]

    async def trimmed(self, shard: int) -> str:
        """Sequence number up to which entries were dropped; START_OF_LOG: none were."""
        sequence: Any = await self._redis.hget(redis_keys.TRIMMED, self.name(shard))
        return _text(sequence or START_OF_LOG)

    async def holds(self, shard: int, cursor: str) -> bool:
        """Whether the log is the one in which this cursor was reached.

        False: the cursor's entry was neither trimmed nor is it there, so the log was rewound.
        """
        if after(cursor) <= after(START_OF_LOG):
            return True
        there, trimmed = await self._holds(keys=[self._key(shard), redis_keys.TRIMMED], args=[cursor, self.name(shard)])
        return bool(there) or after(_text(trimmed)) >= after(cursor)

    async def restore(self, shard: int, cursor: str) -> bool:
        """Mark a snapshot's cursor as the log's end where the log ends before it. Return whether it did.

        Entries get larger numbers from then on. Without the mark a Redis whose clock is behind would give them smaller
        ones, and a replica that starts from the snapshot would never read them.
        """
        from redis.exceptions import ResponseError  # noqa: PLC0415 - see above

        try:
            await self._redis.xadd(self._key(shard), {"op": "mark"}, id=cursor)
        except ResponseError as refused:
            if "equal or smaller" not in str(refused):
                raise
            return False
        return True

    async def trim(self, shard: int, cursor: str) -> int:
        """Drop the entries up to the cursor. Return how many were dropped."""
        if after(await self.trimmed(shard)) >= after(cursor):
            return 0
        milliseconds, counter = after(cursor)
        pipe = self._redis.pipeline(transaction=True)
        pipe.xtrim(self._key(shard), minid=f"{milliseconds}-{counter + 1}", approximate=False)
        pipe.hset(redis_keys.TRIMMED, self.name(shard), cursor)
        dropped, _ = await pipe.execute()
        return int(dropped)

    async def check(self, shard: int, version: str, cursor: str, built_at: float = 0.0) -> None:
        """Raises VersionError when entries behind the cursor are gone: the version cannot be brought up to date.

        `built_at`: Unix seconds at which the version was complete. Earlier releases gave a version the cursor
        START_OF_LOG when its log had been trimmed empty. Such a version is newer than the last trimmed entry, so its
        snapshot holds all that was trimmed, and it passes.
        """
        trimmed = await self.trimmed(shard)
        if after(trimmed) <= after(cursor):
            return
        if after(cursor) == after(START_OF_LOG) and built_at * 1000 >= after(trimmed)[0]:
            return
        raise VersionError(
            f"version {version} needs the log of shard-{shard} from {cursor} on, and it was trimmed to {trimmed}; "
            "serve another version (`recsys rollback`, or `recsys promote` one of `recsys versions`), or build one of "
            "item files"
        )


async def ends(redis: Redis, starts: Mapping[LogId, str]) -> dict[LogId, str]:
    """Return the end of each log as of one moment, see `ItemLog.end`. `starts`: by log, its `at_least`."""
    pipe = redis.pipeline(transaction=True)
    for log in starts:
        pipe.xinfo_stream(redis_keys.log(log.shard, log.layout))
        pipe.hget(redis_keys.TRIMMED, log_name(log.shard, log.layout))
    answers: list[Any] = await pipe.execute(raise_on_error=False)
    reached = {}
    for (log, least), stream, trimmed in zip(starts.items(), answers[::2], answers[1::2], strict=True):
        if isinstance(trimmed, Exception):
            raise trimmed
        newest = START_OF_LOG
        if isinstance(stream, Exception):
            if "no such key" not in str(stream).lower():
                raise stream
        else:
            newest = _text(stream["last-generated-id"])
        reached[log] = max(newest, _text(trimmed or START_OF_LOG), least, key=after)
    return reached


def after(sequence: str) -> tuple[int, int]:
    """Sort key of sequence numbers: milliseconds, then a counter within them."""
    milliseconds, _, counter = sequence.partition("-")
    return int(milliseconds), int(counter or 0)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def fields_of(change: Change) -> dict[Any, Any]:
    """A change as the fields of its entry."""
    if isinstance(change, Delete):
        return {"op": "delete", "id": change.item_id}
    vector = np.ascontiguousarray(change.vector, np.float32).tobytes()
    document = orjson.dumps(change.item)
    return {"op": "upsert", "id": change.item.item_id, "doc": document, "vec": vector, "enc": change.fingerprint}


def change_of(fields: dict[bytes, bytes]) -> Change | None:
    """The change in an entry's fields; None: a mark."""
    if fields[b"op"] == b"mark":
        return None
    if fields[b"op"] == b"delete":
        return Delete(fields[b"id"].decode())
    item = Item(**orjson.loads(fields[b"doc"]))
    return Upsert(item, np.frombuffer(fields[b"vec"], np.float32), fields[b"enc"].decode())
