"""The item log: one Redis Stream a shard. What stands in it is acknowledged; replicas apply it in order.

An entry is `op` (upsert, delete), `id`, and for an upsert `doc` (the item as JSON), `vec` (float32 bytes) and `enc`
(fingerprint of the encoder that made the vector, so that a version of another encoder knows to make its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
from redis.asyncio import Redis

from recsys import keys
from recsys.datatypes import Floats, Item


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
