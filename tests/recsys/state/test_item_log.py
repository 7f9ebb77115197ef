"""The item log."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from redis.exceptions import RedisError

from recsys.datatypes import Item
from recsys.state.item_log import Delete, ItemLog, Upsert, after


def upsert(item_id: str, **given) -> Upsert:
    return Upsert(Item(item_id, **given), np.arange(4, dtype=np.float32), "print")


async def test_entries_come_back_as_they_went_in(redis):
    """Items with all they hold, vectors to the bit, deletes; each to its own shard, in order."""
    log = ItemLog(redis)
    item = upsert('ü/ "1', title="T", text="x", attributes={"k": ["a"], "n": 1.5}, created_at=12.25)
    numbers = await log.append([(0, item), (1, upsert("b")), (0, Delete("c d"))])
    assert sorted(numbers, key=after) == numbers
    first, second = await log.read(0, "0-0")
    assert (first.sequence, second.sequence) == (numbers[0], numbers[2])
    assert first.change.item == item.item
    np.testing.assert_array_equal(first.change.vector, item.vector)
    assert first.change.vector.dtype == np.float32
    assert first.change.fingerprint == "print"
    assert second.change == Delete("c d")
    assert [e.change.item.item_id for e in await log.read(1, "0-0")] == ["b"]


async def test_reading_on_from_a_cursor(redis):
    """Every entry once, oldest first, `limit` at a time; nothing behind the last."""
    log = ItemLog(redis)
    await log.append([(0, Delete(f"{n}")) for n in range(25)])
    cursor, seen = "0-0", []
    while entries := await log.read(0, cursor, limit=10):
        assert len(entries) <= 10
        seen += [e.change.item_id for e in entries]
        cursor = entries[-1].sequence
    assert seen == [f"{n}" for n in range(25)]
    assert cursor == await log.end(0)


async def test_an_empty_log(redis):
    """Nothing to read, and its last entry is the one before every entry."""
    log = ItemLog(redis)
    assert await log.read(3, "0-0") == []
    assert await log.read(3, "0-0", wait_ms=1) == []
    assert await log.end(3) == "0-0"
    assert await log.append([]) == []


async def test_a_reader_that_waits_gets_the_next_entry(redis):
    """It returns as soon as something is written, with only that."""
    log = ItemLog(redis)
    await log.append([(0, Delete("old"))])
    waiting = asyncio.ensure_future(log.read(0, await log.end(0), wait_ms=15_000))
    await asyncio.sleep(0.05)
    await log.append([(0, Delete("new"))])
    assert [e.change.item_id for e in await waiting] == ["new"]


async def test_all_or_none(redis):
    """When one of the entries cannot be written none is."""
    log = ItemLog(redis)
    await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(RedisError):
            await log.append([(0, Delete("a")), (2, Delete("b"))])
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "0")
    assert await log.end(0) == await log.end(2) == "0-0"


def test_sequence_numbers_compare_by_time_then_counter():
    """Not as texts."""
    assert after("999-0") < after("1000-0") < after("1000-2") < after("1000-10")
    assert after("5") == after("5-0")
