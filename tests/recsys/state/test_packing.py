"""Commands as they are written for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import DataError, TimeoutError  # noqa: A004 - redis's own is meant

from recsys.state.connection import connect
from recsys.state.redis_keys import Key
from tests.support.silent_server import silent_server


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


async def test_a_task_that_only_writes_ends_when_it_is_cancelled(redis: Redis) -> None:
    """At whatever moment the cancellation comes: it is not lost in the writing of a command."""

    async def write() -> None:
        while True:
            await redis.incr("recsys:a")
            await asyncio.sleep(0)

    for turns in range(40):
        writer = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        writer.cancel()
        await asyncio.wait([writer], timeout=60)
        assert writer.cancelled()


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    async with silent_server() as address:
        yield f"redis://{address}"


@pytest.mark.parametrize(
    "call", [lambda client: client.set("recsys:a", b"x" * (64 << 20)), lambda client: client.get("recsys:a")]
)
async def test_a_server_that_reads_nothing_is_late(deaf: str, call: Callable[[Redis], Awaitable[Any]]) -> None:
    """Both where the command fits into the socket's buffers, and where it does not."""
    options = "?lib_name=&lib_version="  # no command of its own when it connects
    async with connect(deaf + options, timeout_s=0.3) as client:
        with pytest.raises(TimeoutError):
            await call(client)
