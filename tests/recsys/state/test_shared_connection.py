"""MGETs that share a connection: each caller gets its own values, and what fails is tried as redis-py tries it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, TimeoutError  # noqa: A004 - redis's own is meant

from recsys.state.connection import ask, connect
from recsys.state.redis_keys import Key


async def _lines(redis: Redis) -> list[dict[str, str]]:
    """Connections whose last command was MGET."""
    return [one for one in await redis.client_list() if one["cmd"] == "mget"]


async def test_every_caller_gets_its_own_values(redis: Redis) -> None:
    """Many at a time over one connection, with values of all sizes, some missing and some keys of the platform."""
    sizes = [0, 1, 10, 100_000, 3]
    for n, size in enumerate(sizes):
        await redis.set(Key(f"read:{n}"), bytes([n]) * size)

    async def one(call: int) -> list[bytes | None]:
        await asyncio.sleep(0.001 * (call % 3))
        n = call % len(sizes)
        values: list[bytes | None] = await redis.mget([Key(f"read:{n}"), Key("read:none"), f"recsys:read:{n}"])
        return values

    for call, values in enumerate(await asyncio.gather(*map(one, range(40)))):
        n = call % len(sizes)
        assert values == [bytes([n]) * sizes[n], None, bytes([n]) * sizes[n]]
    assert len(await _lines(redis)) == 1
    assert await redis.mget([]) == []


async def test_a_connection_that_was_lost_costs_nobody_an_answer(redis: Redis) -> None:
    """Neither between two calls nor under one: both are answered over another connection."""
    await redis.set("recsys:read", 1)
    for _ in range(2):
        for _ in range(2):  # the first may be answered by redis-py, and the second opens the connection again
            assert await redis.mget(["recsys:read"]) == [b"1"]
        [line] = await _lines(redis)
        await redis.client_kill_filter(_id=line["id"])
    await redis.client_pause(300)  # the next calls wait at the server
    calls = [asyncio.create_task(redis.mget(["recsys:read"])) for _ in range(3)]
    await asyncio.sleep(0.05)
    calls[0].cancel()  # it gives up, and the connection is closed
    assert await asyncio.gather(*calls[1:]) == [[b"1"], [b"1"]]


async def test_connections_that_lead_to_another_server_are_left(redis: Redis) -> None:
    """What redis-py marks after a failover is not read from again."""
    await redis.mget(["recsys:read"])
    [before] = await _lines(redis)
    await redis.connection_pool.update_active_connections_for_reconnect()
    await redis.mget(["recsys:read"])
    [after] = await _lines(redis)
    assert before["id"] != after["id"]


async def test_what_the_server_refuses_is_raised(redis: Redis) -> None:
    """As redis-py raises it, and the connection serves the next call."""
    with pytest.raises(RedisError, match="wrong number of arguments"):
        await redis.execute_command("MGET")
    await redis.hset("recsys:hash", "a", "1")
    assert await redis.mget(["recsys:hash"]) == [None]


async def test_what_is_asked_is_answered_alike_with_and_without_the_connection(redis: Redis, shared_valkey) -> None:
    """As the server sends it, and what it refuses is raised."""
    await redis.zadd("recsys:set", {"a": 1.0, "b": 2.0})
    commands = [("ZRANGE", "recsys:set", 0, -1, "WITHSCORES"), ("GET", "recsys:none"), ("INFO", "server")]
    async with Redis.from_url(shared_valkey.url, protocol=2) as plain:
        for client in (redis, plain):
            *values, about = await ask(client, commands)
            assert values == [[b"a", b"1", b"b", b"2"], None]
            assert b"run_id:" in about
            with pytest.raises(RedisError, match="wrong number of arguments"):
                await ask(client, [("GET",)])


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    """The URL of a server that answers how it is spoken to, and then nothing."""

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            continue
        writer.close()

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?lib_name=&lib_version="
    server.close()


async def test_a_server_that_answers_nothing_is_late(deaf: str) -> None:
    async with connect(deaf, timeout_s=0.3) as client:
        calls = await asyncio.gather(*(client.mget(["recsys:a"]) for _ in range(3)), return_exceptions=True)
        assert [type(call) for call in calls] == [TimeoutError] * 3
