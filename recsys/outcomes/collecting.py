"""From the streams to files: slots that are over are written, hours that are over become one file, old ones go.

Every composer has a collector, and a lock lets one of them work at a time. That no row is lost or doubled does not rest
on the lock, see `state/slate_stream.py` and `outcomes/log_files.py`: a slot is dropped from the stream only when its
file is there, and a file that is written twice holds the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, ParamSpec

import pyarrow as pa
from msgspec import DecodeError
from redis.asyncio import Redis
from redis.exceptions import LockError

from recsys.outcomes.log_files import HOUR_MS, WHOLE, LogFiles, begin_of, hour_of
from recsys.outcomes.tables import ANSWERS, OUTCOMES, answers_table, outcomes_table
from recsys.outcomes.uniting import united
from recsys.state import redis_keys
from recsys.state.redis_keys import Key
from recsys.state.slate_stream import SlateStream, Slot, StreamEntry
from recsys.telemetry import SILENT, Telemetry

COLLECT_S = 5.0
"""Seconds between two looks."""
_LOCK_S = 15
_SETTLED_MS = 60_000
"""Milliseconds after its end at which an hour is made one file."""

LARGEST = 64 << 20
"""Bytes of an hour's files past which they stay as they are: they are large enough, and all in memory at once would be
much.
"""

log = logging.getLogger(__name__)

P = ParamSpec("P")


class Kind(NamedTuple):
    """One of the two logs."""

    stream: Key
    table: Callable[[Sequence[StreamEntry]], pa.Table]
    schema: pa.Schema


KINDS: Mapping[str, Kind] = {
    "answers": Kind(redis_keys.ANSWERS, answers_table, ANSWERS),
    "outcomes": Kind(redis_keys.OUTCOMES, outcomes_table, OUTCOMES),
}


class Collector:
    """`keep_hours` tells for how many hours files are kept."""

    def __init__(
        self, redis: Redis, files: LogFiles, keep_hours: Callable[[], int], telemetry: Telemetry = SILENT
    ) -> None:
        self._redis = redis
        self._files = files
        self._keep_hours = keep_hours
        self._telemetry = telemetry
        self._streams = {name: SlateStream(redis, kind.stream) for name, kind in KINDS.items()}
        self._tidied: dict[str, str] = {}
        """Kind -> the hour in which its folder was looked through last."""

    async def step(self) -> None:
        """Put everything that is ready into files. Raises RedisError, OSError; the next step goes on from there."""
        for name, stream in self._streams.items():
            self._telemetry.set("recsys_slate_log_lag_seconds", await stream.lag_s(), stream=name)
        lock = self._redis.lock(redis_keys.COLLECTING, timeout=_LOCK_S, blocking=False)
        if not await lock.acquire():
            return
        try:
            for name, stream in self._streams.items():
                while (slot := await stream.oldest()) is not None:
                    await asyncio.to_thread(_giving_back, self._write, name, slot)
                    await stream.drop(slot)
                    await lock.reacquire()
                await self._tidy(name)
        except LockError:  # another collector has it now, and does the rest
            return
        finally:
            with contextlib.suppress(LockError):
                await lock.release()

    async def _tidy(self, name: str) -> None:
        """Once an hour: make past hours one file each, and remove those that are kept no longer."""
        now = round(time.time() * 1000) - _SETTLED_MS
        if self._tidied.get(name) != hour_of(now):
            await asyncio.to_thread(_giving_back, tidy, self._files, name, now, self._keep_hours())
            self._tidied[name] = hour_of(now)

    def _write(self, name: str, slot: Slot) -> None:
        table = _table(KINDS[name], slot)
        if table.num_rows:
            self._files.merge(name, hour_of(slot.begins_ms), f"{slot.begins_ms}.parquet", table)


def _giving_back(work: Callable[P, None], *args: P.args, **named: P.kwargs) -> None:
    """Work with tables, and give the memory that they took back to the system: Arrow keeps it, for each thread."""
    try:
        work(*args, **named)
    finally:
        pa.default_memory_pool().release_unused()


def _table(kind: Kind, slot: Slot) -> pa.Table:
    try:
        return kind.table(slot.entries)
    except (DecodeError, pa.ArrowException, ValueError):
        # An entry of another release. The others of the slot must not wait for it for ever.
        readable = [entry for entry in slot.entries if _is_readable(kind, entry)]
        log.warning("%d entries of the log of %s cannot be read", len(slot.entries) - len(readable), kind.stream)
        return kind.table(readable)


def _is_readable(kind: Kind, entry: StreamEntry) -> bool:
    try:
        kind.table([entry])
    except (DecodeError, pa.ArrowException, ValueError):
        return False
    return True


def tidy(files: LogFiles, name: str, now_ms: int, keep_hours: int) -> None:
    """Make every hour that ended before `now_ms` one file, and remove those over `keep_hours` hours old.

    Beside another process that does the same, or writes a slot late, no row is lost or doubled: what is removed is in
    the hour's file by then.
    """
    for hour in files.hours(name):
        ended = begin_of(hour) + HOUR_MS
        if ended + keep_hours * HOUR_MS <= now_ms:
            files.remove_hour(name, hour)
        elif ended <= now_ms:
            _make_one(files, name, hour)


def _make_one(files: LogFiles, name: str, hour: str) -> None:
    sizes = files.sizes(name, hour)
    slots = [file for file in sizes if file != WHOLE]
    if not slots or sum(sizes.values()) > LARGEST:
        return
    tables = [table for file in slots if (table := files.read(name, hour, file)) is not None]
    if tables:
        files.merge(name, hour, WHOLE, united(tables))
    for file in slots:
        files.remove(name, hour, file)
