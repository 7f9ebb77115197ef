"""How commands are written to Redis: quickly, and so that a task that is cancelled meanwhile ends.

hiredis packs them, in C: redis-py has asyncio's connections pack them in Python, which takes five times as long, most
of what it costs to record an event.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004 - redis's own are meant

from recsys.state.redis_keys import Key

_PACK: Any = hiredis.pack_command


class Packing(AbstractConnection):
    """Mixed into a connection class of redis-py. `encoder` writes the platform's prefix: see `connection.py`."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [self._packed(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join([self._packed(tuple(command)) for command in commands])]

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Write a command within `socket_timeout` seconds. Raises redis' TimeoutError and ConnectionError.

        redis-py writes with asyncio.wait_for, which before Python 3.12 swallows a cancellation that comes together with
        the end of the writing (python/cpython#86296). So a task that was cancelled went on, three times out of four
        where it did nothing but write. It also made a task for each command.
        """
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        parts = command.encode() if isinstance(command, str) else command
        try:
            writer: Any = self._writer
            writer.writelines([parts] if isinstance(parts, bytes) else parts)
            if writer.transport.get_write_buffer_size() or writer.is_closing():  # else there is nothing to wait for
                async with asyncio.timeout(self.socket_timeout):
                    await writer.drain()
        except builtins.TimeoutError:
            await self.disconnect(nowait=True)
            raise TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise ConnectionError(f"Error while writing to socket: {error}") from error
        except BaseException:  # half a command may be written
            await self.disconnect(nowait=True)
            raise

    def _packed(self, args: tuple[Any, ...]) -> bytes:
        name = args[0]
        if isinstance(name, str) and " " in name:  # such as SCRIPT LOAD: two arguments to Redis
            args = (*name.split(), *args[1:])
        encode: Any = self.encoder.encode
        try:
            packed: bytes = _PACK(tuple([encode(arg) if type(arg) is Key else arg for arg in args]))
        except TypeError:  # a type that redis-py's own encoder may know, or refuse by name
            return b"".join(super().pack_command(*args))
        return packed


def packing(kind: type[Any]) -> type[Any]:
    """The connection class with the mixin in front."""
    return type(kind.__name__, (Packing, kind), {})
