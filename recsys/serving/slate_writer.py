"""The answers of one composer on their way to the log, behind the requests.

An answer joins a queue, where some dozens at a time are encoded while the processor's cache still has them: a fifth of
a second later that takes four times as long. A loop writes what has come. When Redis is away the queue fills, and the
answers for which it has no room are counted: the next entry of the log says how many they are. A composer that is
killed loses the answers of its last fifth of a second, or its queue, where Redis is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.answers import Slate
from recsys.config.slate_log import SlateLog as Settings
from recsys.datatypes import Interaction, RecQuery
from recsys.state.slate_columns import Answer
from recsys.state.slate_log import Entry, SlateLog
from recsys.telemetry import SILENT, Telemetry

WRITE_S = 0.2
"""Seconds between two writes."""
_ENTRY = 32
"""Answers in an entry at the most: to encode them takes about 0.1 ms of the event loop."""
_TRIP = 16
"""Entries that are written in one trip at the most."""
_LAST_WORDS_S = 2.0
"""Seconds for which a composer that stops waits for its last answers to be written."""

log = logging.getLogger(__name__)


class SlateWriter:
    def __init__(self, redis: Redis, telemetry: Telemetry = SILENT) -> None:
        self._redis = redis
        self._telemetry = telemetry
        self._name = secrets.token_hex(8)
        self._fresh: list[Answer] = []
        """Answers that are not encoded yet."""
        self._queue: deque[Entry] = deque()
        self._batch: Sequence[Entry] = ()
        """Entries that are being written, or whose write may not have come through."""
        self._number = 1
        """Of the first entry of the batch."""
        self._waiting = 0
        """Answers that are not written yet."""
        self._left_out = 0
        """Answers without room in the queue since the last batch."""
        self._lost = 0
        """The same before this batch."""
        self._writing = asyncio.Lock()
        self.configure(Settings())

    def configure(self, settings: Settings) -> None:
        self._room = settings.queue if settings.enabled else 0
        self.log = (
            SlateLog(self._redis, most=settings.waiting, token_s=settings.keep_hours * 3600)
            if settings.enabled
            else None
        )
        if self.log is None:
            self._fresh.clear()
            self._queue.clear()
            self._waiting = sum(len(entry.users) for entry in self._batch)

    def __len__(self) -> int:
        """Answers that are not written yet."""
        return self._waiting

    def add(self, query: RecQuery, slate: Slate) -> None:
        """Log an answer that was just given. It neither waits nor raises."""
        if self._waiting < self._room:
            self._waiting += 1
            self._fresh.append(Answer(time.time(), query, slate))
            if len(self._fresh) == _ENTRY:
                self._encode()
        elif self.log is not None:
            self._left_out += 1

    async def step(self) -> None:
        """Write all that has come. Raises RedisError or OSError when Redis is away; what is left is written later."""
        async with self._writing:
            self._encode()
            while self._batch or self._queue:
                if not self._batch:
                    self._batch = [self._queue.popleft() for _ in range(min(_TRIP, len(self._queue)))]
                    self._lost, self._left_out = self._left_out, 0
                if self.log is not None:
                    taken = await self.log.write(self._name, self._number, self._batch, self._lost, time.time())
                    for entry, was_taken in zip(self._batch, taken, strict=True):
                        self._count("written" if was_taken else "log_full", len(entry.users))
                    self._count("queue_full", self._lost)
                self._waiting -= sum(len(entry.users) for entry in self._batch)
                self._number += len(self._batch)
                self._batch = ()

    def _encode(self) -> None:
        if self._fresh:
            self._queue.append(Entry.of(self._fresh))
            self._fresh.clear()

    async def tell(self, events: Sequence[Interaction]) -> None:
        """Log outcomes that are part of no history. Raises RedisError or OSError when Redis is away."""
        if self.log is not None:
            await self.log.tell(events)

    def beat(self) -> None:
        """Publish how many answers wait; once a second."""
        self._telemetry.set("recsys_slate_log_queue", len(self))

    async def stop(self) -> None:
        """Write what is left, for two seconds at the most."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.step()
        if len(self):
            log.warning("%d answers are not in the log of answers: Redis does not take them", len(self))

    def _count(self, result: str, answers: int) -> None:
        self._telemetry.add("recsys_logged_slates_total", answers, result=result)
