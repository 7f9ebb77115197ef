"""Commands written for the wire by hiredis, in C: redis-py has asyncio's connections write them in Python, which takes
five times as long, most of what it costs to record an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection

from recsys.state.redis_keys import Key

_PACK: Any = hiredis.pack_command


class Packing(AbstractConnection):
    """Mixed into a connection class of redis-py. `encoder` writes the platform's prefix: see `connection.py`."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [self._packed(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join([self._packed(tuple(command)) for command in commands])]

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
