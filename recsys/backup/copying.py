"""A copy of a platform's keys at one moment, taken while writes go on.

All keys are read once, page by page, while the server names those that change (`state/key_changes.py`). These are read
again, and those that change meanwhile once more, until none is left: then the copy is what Redis held at that moment.
Each round is shorter than the one before. The last one takes some milliseconds, for which the server is asked to let
writes wait (CLIENT PAUSE); where this user may not ask for it, rounds go on until one falls between two writes.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from recsys.backup.spool import Spool
from recsys.encoders.catalogue import Progress
from recsys.errors import RuntimeFailure
from recsys.state import redis_keys
from recsys.state.item_log import START_OF_LOG
from recsys.state.key_changes import KeyChanges
from recsys.state.stored_keys import STREAM, StoredKeys

log = logging.getLogger(__name__)

_PAGE = 500
"""Keys of a trip. A user's keys are some kB, of long histories up to 200."""
_ENTRIES = 500
"""Entries of a stream in a trip; with a vector each is some kB."""
_FEW = 64
"""Changed keys that are read within a pause: two trips."""
_ROUNDS = 20
"""Rounds before the first pause, however many keys change."""
PAUSE_MS = 500
"""How long writes wait at the most, should this process die in a pause. Composers wait two seconds for an answer."""
WITHIN_S = 120.0
"""Seconds in which a moment without writes must be found."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment of a copy."""

    at_ms: int
    """Unix milliseconds, by Redis' clock."""
    keys: int
    """Keys that were copied."""


class Copying:
    """Copies the keys whose kind is `chosen` into a spool. Use it with `async with`; see `KeyChanges` for the errors.

    `prefix`: the platform's, without the colon.
    """

    def __init__(self, redis: Redis, prefix: str, spool: Spool, chosen: Callable[[str], bool]) -> None:
        self._redis = redis
        self._keys = StoredKeys(redis, prefix)
        self._changes = KeyChanges(redis, prefix)
        self._spool = spool
        self._chosen = chosen

    @asynccontextmanager
    async def tracked(self) -> AsyncIterator[None]:
        async with self._changes:
            yield

    async def sweep(self, say: Progress) -> None:
        """Read all keys once."""
        total, done, page = int(await self._redis.dbsize()), 0, list[bytes]()
        async for key in self._redis.scan_iter(match=redis_keys.Key("*"), count=1000):
            page.append(key)
            if len(page) == _PAGE:
                await self._read(page)
                done, page = done + len(page), []
                say("keys", done, max(total, done))
        await self._read(page)
        say("keys", done + len(page), done + len(page))

    async def moment(self) -> Moment:
        """Bring the copy to one moment, and return it. It may be called again later, for a later moment.

        Raises RuntimeFailure when writes leave no moment in two minutes.
        """
        for _ in range(_ROUNDS):
            changed = await self._changes.drain()
            await self._read(changed)
            if len(changed) <= _FEW:
                break
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            async with self._writes_waiting():
                until = time.monotonic() + PAUSE_MS / 2000
                changed = await self._changes.drain()
                while time.monotonic() < until:
                    at_ms = await self._now_ms()
                    await self._read(changed)
                    if not (changed := await self._changes.drain()):  # nothing has changed since it was read
                        return Moment(at_ms, self._settled(at_ms))
                await self._read(changed)
        raise RuntimeFailure(
            f"Redis was written to so often that no moment without a write was found in {WITHIN_S:.0f} s: allow this "
            "user CLIENT PAUSE and UNPAUSE (docs/security.md), or start the same at a quieter time"
        )

    def _settled(self, now_ms: int) -> int:
        """Return the number of keys copied. Those that have expired are dropped: Redis had only not removed them yet.

        Raises RuntimeFailure when a stream was copied incompletely: something else than this project deletes from it.
        """
        kept, expired = 0, []
        for record in self._spool.records():
            if record.expires_ms is not None and record.expires_ms <= now_ms:
                expired.append(record.key)
                continue
            kept += 1
            if record.type == STREAM and self._spool.count(record.key) != int(record.value[1]):
                raise RuntimeFailure(
                    f"{record.key.decode(errors='replace')} has {int(record.value[1])} entries in Redis and "
                    f"{self._spool.count(record.key)} in the copy: start the same again"
                )
        self._spool.drop(expired)
        return kept

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _read(self, whole_keys: Iterable[bytes]) -> None:
        keys = [key.removeprefix(self._keys.prefix) for key in whole_keys]
        keys = [key for key in dict.fromkeys(keys) if self._chosen(redis_keys.kind_of(key))]
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            records = await self._keys.read(page)
            self._spool.drop(set(page) - {record.key for record in records})
            self._spool.put(records)
            for record in records:
                if record.type == STREAM:
                    await self._follow(record.key)

    async def _follow(self, stream: bytes) -> None:
        """Copy the entries that came since the last copy, and forget those that were trimmed: entries do not change."""
        self._spool.trim(stream, await self._keys.first_entry(stream))
        last = self._spool.last(stream) or START_OF_LOG
        page = None
        while page is None or len(page) == _ENTRIES:  # a short page is the end: what comes as we read is read later
            if page := await self._keys.entries(stream, last, _ENTRIES):
                self._spool.append(stream, page)
                last = page[-1].id

    @asynccontextmanager
    async def _writes_waiting(self) -> AsyncIterator[None]:
        """Let writes wait for the block, PAUSE_MS at the most, where this user may ask for it."""
        try:
            await self._redis.client_pause(PAUSE_MS, all=False)
        except ResponseError as refused:
            log.debug("writes are not paused: %s", refused)
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(RedisError):  # it ends by itself
                await self._redis.client_unpause()
