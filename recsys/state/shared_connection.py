"""Commands over one connection that many callers share.

redis-py takes a connection from its pool for each trip, looks whether bytes lie on it, and gives it back: some thirty
coroutines around one write and one read. A batch of requests makes one MGET, and with one caller the batch is one
request; an event makes two scripts. Here redis-py opens the connection, with all that it knows of TLS, users and
Sentinels, and from then on commands are written to its transport one behind another, and answers are given to their
callers in that order.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError, ResponseError, TimeoutError  # noqa: A004 - redis's own are meant


class _Trip(NamedTuple):
    """Commands that were written together."""

    replies: asyncio.Future[list[Any]]
    commands: int
    came: list[Any]
    sent_at: float
    """By the loop's time."""


class _Line(asyncio.Protocol):
    """A connection that redis-py has opened, while its transport is used here."""

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self.connection = connection
        self._timeout_s = timeout_s
        self._replies = hiredis.Reader(protocolError=ConnectionError, replyError=ResponseError)
        self._waiting: deque[_Trip] = deque()
        """What callers await, in the order of their commands."""
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._error: Exception = ConnectionError("the connection to Redis is lost")
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001 - it is told nowhere else
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Whether the next command may go over it. redis-py marks connections that lead to the server of before."""
        return not (self._transport.is_closing() or self.connection.should_reconnect())

    async def call(self, commands: bytes, count: int) -> list[Any]:
        """The replies to so many commands."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append(_Trip(future, count, [], self._loop.time()))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        self._transport.write(commands)
        try:
            return await future
        except asyncio.CancelledError:  # the caller has given up: the server is late
            self.close()
            raise

    def _look(self) -> None:
        """Close a line on which an answer is late. One timer for all calls: most of them end long before it."""
        self._watch = None
        if not self._waiting:
            return
        left_s = self._waiting[0].sent_at + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self._error = TimeoutError("Timeout reading from socket")
            self.close()

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        try:
            while (reply := self._replies.gets()) is not False:
                trip = self._waiting[0]
                trip.came.append(reply)
                if len(trip.came) == trip.commands:
                    self._waiting.popleft()
                    _end(trip)
        except (ConnectionError, IndexError):  # what is no answer, or is nobody's
            self.close()

    def pause_writing(self) -> None:
        """Commands wait in the transport."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for trip in self._waiting:
            if not trip.replies.done():
                trip.replies.set_exception(self._error)
        self._waiting.clear()
        self._streams.connection_lost(exc)  # redis-py waits for that when it closes


def _end(trip: _Trip) -> None:
    if trip.replies.done():  # its caller has given up
        return
    failed = next((reply for reply in trip.came if isinstance(reply, Exception)), None)
    if failed is None:
        trip.replies.set_result(trip.came)
    else:
        trip.replies.set_exception(failed)


class SharedConnection:
    """Opened when first used, and again after a loss."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool: weakref.ref[Any] = weakref.ref(pool)
        self._line: _Line | None = None
        self._opening = asyncio.Lock()

    async def call(self, commands: Sequence[Iterable[Any]]) -> list[Any]:
        """The replies to the commands, in their order, as the server sends them. Nothing is tried twice.

        Raises redis' ConnectionError, also where another caller has given up waiting, the first ResponseError, and
        TimeoutError.
        """
        line = self._line
        if line is None or not line.usable:
            line = await self._open()
        return await line.call(b"".join(line.connection.pack_commands(commands)), len(commands))

    async def _open(self) -> _Line:
        async with self._opening:
            if self._line is not None and self._line.usable:
                return self._line
            pool = self._pool()
            if pool is None:
                raise ConnectionError("the pool of connections is gone")
            if self._line is not None:
                before, self._line = self._line, None
                await before.connection.disconnect(nowait=True)
                await pool.release(before.connection)
            connection = await pool.get_connection()
            self._line = _Line(connection, connection.socket_timeout)
            return self._line
