"""Which keys change while they are copied, told by the server (CLIENT TRACKING in broadcasting mode).

The server names each key under the prefix that is written, deleted or expires, on a connection of its own. It needs no
setting and no file of the server, so a managed Redis does it as well. One connection listens; another one owns the
tracking, because RESP2 sends the names to a subscriber.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError  # noqa: A004 - redis's own is meant

from recsys.errors import RuntimeFailure

_CHANNEL = "__redis__:invalidate"
_ANSWER_S = 30.0


class KeyChanges:
    """The keys under a prefix that changed, from `async with` on. `prefix`: without the colon."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._pool: Any = redis.connection_pool
        self._prefix = prefix
        self._changed: set[bytes] = set()
        self._pong = asyncio.Event()
        self._id = 0

    async def __aenter__(self) -> Self:
        """Raises RuntimeFailure when the server does not let this user track keys."""
        self._listener, self._owner = self._pool.make_connection(), self._pool.make_connection()
        try:
            self._id = int(await _asked(self._listener, "CLIENT", "ID"))
            await _asked(self._listener, "SUBSCRIBE", _CHANNEL)
            tracking = ("CLIENT", "TRACKING", "ON", "REDIRECT", self._id, "BCAST", "PREFIX", f"{self._prefix}:")
            await _asked(self._owner, *tracking)
        except ResponseError as refused:
            await self._close()
            raise RuntimeFailure(
                f"Redis does not say which keys change while they are copied ({refused}): allow this user CLIENT "
                f"TRACKING and the channel {_CHANNEL}, as docs/security.md says"
            ) from None
        except BaseException:
            await self._close()
            raise
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, RedisError, RuntimeFailure):
            await self._task
        await self._close()

    async def drain(self) -> set[bytes]:
        """Return the keys, with their prefix, of all changes that the server made before this call and did not name
        yet.

        Raises RuntimeFailure when some may have been missed: a connection broke, or everything was deleted.
        """
        try:
            # A server names the keys at the end of a turn of its event loop, and may answer the first PING before. The
            # second PING belongs to a later turn.
            for _ in range(2):
                self._pong.clear()
                await self._listener.send_command("PING")
                await self._answered()
            redirected = int(await _asked(self._owner, "CLIENT", "GETREDIR"))
        except (ConnectionError, OSError) as error:
            raise _broken(error) from None
        if redirected != self._id:
            raise RuntimeFailure("Redis ended the tracking of keys while they were copied: start the same again")
        changed, self._changed = self._changed, set()
        return changed

    async def _answered(self) -> None:
        pong = asyncio.create_task(self._pong.wait())
        await asyncio.wait({pong, self._task}, timeout=_ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        arrived = pong.done()
        pong.cancel()
        if self._task.done():
            await self._task  # raises what ended it
        if not arrived:
            raise RuntimeFailure(f"Redis did not answer within {_ANSWER_S:.0f} s while keys were copied")

    async def _listen(self) -> None:
        while True:
            try:
                message = await self._listener.read_response(timeout=math.inf)
            except (ConnectionError, OSError) as error:
                raise _broken(error) from None
            if message[0] == b"pong":
                self._pong.set()
            elif message[0] == b"message" and message[2] is None:
                raise RuntimeFailure("all keys of Redis were deleted while they were copied")
            elif message[0] == b"message":
                self._changed.update(message[2])

    async def _close(self) -> None:
        for connection in (self._listener, self._owner):
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect()


def _broken(error: Exception) -> RuntimeFailure:
    return RuntimeFailure(f"the connection to Redis broke while keys were copied ({error}): start the same again")


async def _asked(connection: Any, *command: Any) -> Any:
    await connection.connect()  # does nothing where it is connected
    await connection.send_command(*command)
    return await connection.read_response()
