"""Scripts run many times in a trip: short trips share a connection, and what fails is done as redis-py does it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from recsys.state.connection import Client
from recsys.state.lua_calls import Call, run_many
from recsys.state.redis_keys import Key

SUM = "if ARGV[1] == 'no' then return redis.error_reply('NO sum') end return redis.call('INCRBY', KEYS[1], ARGV[1])"


def calls(name: str, *numbers: object) -> list[Call]:
    return [([Key(name)], [number]) for number in numbers]


async def lines(redis: Redis) -> list[str]:
    """Ids of the connections whose last command was a script."""
    return [one["id"] for one in await redis.client_list() if one["cmd"] == "evalsha"]


async def test_every_caller_gets_the_answers_to_its_own_calls(redis: Redis) -> None:
    """In their order, over one connection; the script is loaded where the server does not have it."""
    script = redis.register_script(SUM)
    assert await run_many(redis, script, []) == []
    assert await run_many(redis, script, calls("first", 1, 2)) == [1, 3]
    answers = await asyncio.gather(*(run_many(redis, script, calls(f"n{n}", *range(n))) for n in range(12)))
    assert answers == [[sum(range(m + 1)) for m in range(n)] for n in range(12)]
    assert await redis.get(Key("n5")) == b"10"
    before = await lines(redis)
    await run_many(redis, script, calls("first", *[1] * 10))
    assert await lines(redis) == before
    await redis.script_flush()
    assert await run_many(redis, script, calls("first", 1)) == [14]


async def test_a_long_trip_keeps_nobody_waiting(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a connection of its own."""
    script, shared = redis.register_script(SUM), list[int]()
    plain = Client.trip

    async def noting(self: Client, commands: Sequence[Any]) -> Any:
        shared.append(len(commands))
        return await plain(self, commands)

    monkeypatch.setattr(Client, "trip", noting)
    await run_many(redis, script, calls("a", 1))
    assert await run_many(redis, script, calls("a", *[1] * 33)) == list(range(2, 35))
    long = [([Key("a")], ["1", *["0"] * 1000])]
    assert await run_many(redis, script, long) == [35]
    assert shared == [1]


async def test_what_the_server_refuses_is_raised(redis: Redis) -> None:
    script = redis.register_script(SUM)
    await run_many(redis, script, calls("a", 1))
    with pytest.raises(ResponseError, match="NO sum"):
        await run_many(redis, script, calls("a", "no", 1))
    assert await run_many(redis, script, calls("b", 1)) == [1]


async def test_a_connection_that_was_lost_costs_nobody_an_answer(redis: Redis) -> None:
    """The calls are made again: see `run_many` for what they must be."""
    script = redis.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
    await run_many(redis, script, calls("a", 1))
    [line] = await lines(redis)
    await redis.client_kill_filter(_id=line)
    assert await run_many(redis, script, calls("a", 2)) == [b"OK"]
    await redis.client_pause(300)  # the next calls wait at the server
    waiting = [asyncio.create_task(run_many(redis, script, calls(f"k{n}", n))) for n in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()  # it gives up, and the connection is closed
    assert await asyncio.gather(*waiting[1:]) == [[b"OK"], [b"OK"]]
    assert [await redis.get(Key(f"k{n}")) for n in (1, 2)] == [b"1", b"2"]
