"""Commands as they are written for Redis."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import DataError

from recsys.state.connection import connect
from recsys.state.redis_keys import Key


def connection() -> Any:
    return connect("unix:///nowhere", prefix="shop").connection_pool.make_connection()


@pytest.mark.parametrize(
    "command",
    [
        ("GET", Key("events:ü")),
        ("SCRIPT LOAD", "return 1"),
        ("SET", Key("a"), b"\x00\xff", "EX", 60),
        ("ZADD", "a", 1.5, "ü", -2, 1e300),
        ("EVALSHA", "0" * 40, 2, Key("a"), Key("b"), memoryview(b"x"), "", b"y" * 10_000),
    ],
)
def test_commands_are_written_as_redis_py_writes_them(command: tuple[Any, ...]) -> None:
    """By hiredis, with the prefix in front of keys alone."""
    ours = connection()
    written = b"".join(ours.pack_command(*command))
    assert written == b"".join(AbstractConnection.pack_command(ours, *command))
    assert b"".join(ours.pack_commands([command, command])) == written * 2
    assert b"shop:" in written or not any(isinstance(part, Key) for part in command)


def test_what_redis_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="NoneType"):
        connection().pack_command("SET", Key("a"), None)
