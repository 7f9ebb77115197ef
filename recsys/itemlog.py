"""The item log: one Redis Stream a shard. What stands in it is acknowledged; replicas apply it in order.

An entry is `op` (upsert, delete), `id`, and for an upsert `doc` (the item as JSON), `vec` (float32 bytes) and `enc`
(fingerprint of the encoder that made the vector, so that a version of another encoder knows to make its own).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
from redis.asyncio import Redis

from recsys import keys
from recsys.datatypes import Floats, Item
from recsys.errors import VersionError


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
    change: Change


class ItemLog:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def append(self, changes: Sequence[tuple[int, Change]]) -> list[str]:
        """Write (shard, change) pairs in one transaction: all or none. Their sequence numbers."""
        pipe = self._redis.pipeline(transaction=True)
        for shard, change in changes:
            pipe.xadd(keys.log(shard), _fields(change))
        return [sequence.decode() for sequence in await pipe.execute()]

    async def read(self, shard: int, cursor: str, *, limit: int = 512, wait_ms: int | None = None) -> list[Entry]:
        """Entries behind the cursor, oldest first; waits for one at the most `wait_ms` (None: not at all)."""
        answer: Any = await self._redis.xread({keys.log(shard): cursor}, count=limit, block=wait_ms)
        return [Entry(at.decode(), _change(fields)) for _, entries in answer or [] for at, fields in entries]

    async def length(self, shard: int) -> int:
        """Entries that it holds."""
        return int(await self._redis.xlen(keys.log(shard)))

    async def last(self, shard: int) -> str:
        """Sequence number of the newest entry; `0-0` when there is none."""
        newest: Any = await self._redis.xrevrange(keys.log(shard), count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def newest(self, shards: Sequence[int]) -> list[str]:
        """Sequence number of the newest entry that each shard's log holds now; `0-0` where it is empty."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in shards:
            pipe.xrevrange(keys.log(shard), count=1)
        return [entries[0][0].decode() if entries else "0-0" for entries in await pipe.execute()]

    async def trim(self, shard: int, cursor: str, fingerprints: Collection[str] = ()) -> int:
        """Drop entries up to the cursor, which nobody needs any more, and how many there were.

        `fingerprints`: of the encoders that versions still use; what others made of entries goes altogether.
        """
        before: Any = await self._redis.hget(keys.TRIMMED, str(shard))
        if before is not None and after(before.decode()) >= after(cursor):
            return 0
        milliseconds, counter = after(cursor)
        pipe = self._redis.pipeline(transaction=True)
        pipe.xtrim(keys.log(shard), minid=f"{milliseconds}-{counter + 1}", approximate=False)
        pipe.hset(keys.TRIMMED, str(shard), cursor)
        dropped, _ = await pipe.execute()
        async for key in self._redis.scan_iter(keys.reencoded(shard, "*")):
            if key.decode().rpartition(":")[2] not in fingerprints:
                await self._redis.delete(key)
                continue
            kept: list[Any] = await self._redis.hkeys(key)
            old = [s for s in kept if after(s.decode()) <= after(cursor)]
            if old:
                await self._redis.hdel(key, *old)
        return int(dropped)

    async def check(self, shard: int, version: str, cursor: str) -> None:
        """Raises VersionError when entries behind the cursor are gone: the version cannot be brought up to date."""
        trimmed: Any = await self._redis.hget(keys.TRIMMED, str(shard))
        if trimmed is not None and after(trimmed.decode()) > after(cursor):
            raise VersionError(
                f"version {version} needs the log of shard-{shard} from {cursor} on, and it was trimmed to "
                f"{trimmed.decode()}; build anew with --from-live"
            )


def after(sequence: str) -> tuple[int, int]:
    """Sequence numbers in their order: milliseconds, then a counter within them."""
    milliseconds, _, counter = sequence.partition("-")
    return int(milliseconds), int(counter or 0)


def _fields(change: Change) -> dict[Any, Any]:
    if isinstance(change, Delete):
        return {"op": "delete", "id": change.item_id}
    vector = np.ascontiguousarray(change.vector, np.float32).tobytes()
    document = orjson.dumps(asdict(change.item))
    return {"op": "upsert", "id": change.item.item_id, "doc": document, "vec": vector, "enc": change.fingerprint}


def _change(fields: dict[bytes, bytes]) -> Change:
    if fields[b"op"] == b"delete":
        return Delete(fields[b"id"].decode())
    item = Item(**orjson.loads(fields[b"doc"]))
    return Upsert(item, np.frombuffer(fields[b"vec"], np.float32), fields[b"enc"].decode())
