"""Keys of Redis as they are stored: read and written by type, without knowing what they mean.

A value is read with the commands of its type and not with DUMP, whose format is that of one release of one server. So
what Valkey held can be written to Redis, and the other way round.

| type | value |
| --- | --- |
| string | bytes |
| list | its elements |
| set | its members, sorted |
| hash | field, value, field, value, … sorted by field |
| zset | member, score, … by score; a score is the text that Redis gives, which is exact |
| stream | the last id that it gave out, and how many entries it has; the entries are read for themselves |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from recsys.state.item_log import START_OF_LOG

STREAM = "stream"
_READERS: dict[str, tuple[Any, ...]] = {
    "string": ("GET",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "hash": ("HGETALL",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    STREAM: ("XINFO STREAM",),
}
_WRITERS = {"list": "RPUSH", "set": "SADD", "hash": "HSET", "zset": "ZADD"}
_ARGUMENTS = 10_000
"""Arguments of one command, an even number: more would keep the server from its other clients."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    key: bytes
    """Without the platform's prefix."""
    type: str
    value: bytes | list[bytes]
    """See the table above."""
    expires_ms: int | None = None
    """Unix milliseconds at which it expires; None: never."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry of a stream."""

    id: str
    fields: list[bytes]
    """Name, value, name, value, …"""


class StoredKeys:
    """The keys under a prefix. `prefix`: without the colon."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis: Any = redis  # its method for any command has no types
        self.prefix = f"{prefix}:".encode()
        self._exact: bool | None = None

    async def read(self, keys: Sequence[bytes]) -> list[StoredKey]:
        """Return the keys that are there, in the order given. Two trips.

        Nothing holds the keys still between the commands: of a key that changes meanwhile it returns any mixture, or
        nothing.
        """
        whole = [self.prefix + key for key in keys]
        lifetime = "PEXPIRETIME" if await self._has_exact_times() else "PTTL"
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for key in whole:
            pipe.execute_command("TYPE", key)
            pipe.execute_command(lifetime, key)
        (seconds, microseconds), *answers = await pipe.execute()
        now = 0 if lifetime == "PEXPIRETIME" else seconds * 1000 + microseconds // 1000
        about = {
            key: (answers[2 * n].decode(), now + answers[2 * n + 1] if answers[2 * n + 1] >= 0 else None)
            for n, key in enumerate(keys)
        }
        present = [key for key, (kind, _) in about.items() if kind in _READERS]
        pipe = self._redis.pipeline(transaction=False)
        for key in present:
            name, *options = _READERS[about[key][0]]
            pipe.execute_command(name, self.prefix + key, *options)
        values = await pipe.execute(raise_on_error=False)
        return [
            StoredKey(key, about[key][0], _value(about[key][0], value), about[key][1])
            for key, value in zip(present, values, strict=True)
            if not _is_gone(value)
        ]

    async def entries(self, key: bytes, behind: str, limit: int) -> list[StoredEntry]:
        """Return up to `limit` entries of a stream behind an id, oldest first."""
        page: Any = await self._redis.xrange(self.prefix + key, f"({behind}", "+", limit)
        return [StoredEntry(at.decode(), [part for pair in fields.items() for part in pair]) for at, fields in page]

    async def first_entry(self, key: bytes) -> str | None:
        """Return the id of a stream's oldest entry; None: it has none."""
        page: Any = await self._redis.xrange(self.prefix + key, count=1)
        return page[0][0].decode() if page else None

    async def write(self, records: Sequence[StoredKey]) -> None:
        """Write keys that are not there yet, and their lifetimes. Of streams see `end_stream`."""
        pipe = self._redis.pipeline(transaction=False)
        for record in records:
            for command in _written(self.prefix + record.key, record):
                pipe.execute_command(*command)
            if record.expires_ms is not None:
                pipe.execute_command("PEXPIREAT", self.prefix + record.key, record.expires_ms)
        await pipe.execute()

    async def append(self, key: bytes, entries: Sequence[StoredEntry]) -> None:
        """Write entries to a stream, with their ids, behind those that it has."""
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipe.execute_command("XADD", self.prefix + key, entry.id, *entry.fields)
        await pipe.execute()

    async def end_stream(self, record: StoredKey) -> None:
        """Give a stream the last id that it gave out, and its lifetime, once its entries are written."""
        key, last = self.prefix + record.key, record.value[0].decode()  # type: ignore[union-attr] # a list, of streams
        if not await self._redis.exists(key):
            if last == START_OF_LOG:
                return  # an empty stream that gave out no id is as good as none
            await self._redis.execute_command("XADD", key, last, "op", "mark")
            await self._redis.xtrim(key, maxlen=0, approximate=False)
        else:
            await self._redis.execute_command("XSETID", key, last)
        if record.expires_ms is not None:
            await self._redis.execute_command("PEXPIREAT", key, record.expires_ms)

    async def delete(self, keys: Sequence[bytes]) -> None:
        if keys:
            await self._redis.unlink(*[self.prefix + key for key in keys])

    async def _has_exact_times(self) -> bool:
        """Whether the server tells the moment at which a key expires: Redis 7 and Valkey do, Redis 6 only what is
        left.
        """
        if self._exact is None:
            try:
                await self._redis.execute_command("PEXPIRETIME", self.prefix + b"probe")
                self._exact = True
            except ResponseError as refused:
                if "unknown command" not in str(refused).lower():
                    raise
                self._exact = False
        return self._exact


def _is_gone(value: Any) -> bool:
    """Whether the key was deleted, or became another type, between the two trips."""
    if not isinstance(value, Exception):
        return value is None or (not isinstance(value, bytes) and not value)
    if isinstance(value, ResponseError) and ("WRONGTYPE" in str(value) or "no such key" in str(value).lower()):
        return True
    raise value


def _value(kind: str, answer: Any) -> bytes | list[bytes]:
    if kind == "string":
        return bytes(answer)
    if kind == STREAM:
        last = answer["last-generated-id"]
        return [last if isinstance(last, bytes) else str(last).encode(), str(answer["length"]).encode()]
    if kind == "hash":
        return [part for field in sorted(answer) for part in (field, answer[field])]
    return sorted(answer) if kind == "set" else list(answer)


def _written(key: bytes, record: StoredKey) -> Iterator[tuple[Any, ...]]:
    """The commands that write a key, but for streams."""
    if isinstance(record.value, bytes):
        yield ("SET", key, record.value)
    elif record.type == "zset":
        for part in _parts(record.value):
            pairs = [cell for at in range(0, len(part), 2) for cell in (part[at + 1], part[at])]
            yield ("ZADD", key, *pairs)
    elif record.type in _WRITERS:
        for part in _parts(record.value):
            yield (_WRITERS[record.type], key, *part)


def _parts(value: list[bytes]) -> Iterator[list[bytes]]:
    return (value[start : start + _ARGUMENTS] for start in range(0, len(value), _ARGUMENTS))
