"""The item log."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from redis.exceptions import RedisError

from recsys.datatypes import Item
from recsys.errors import VersionError
from recsys.state import redis_keys
from recsys.state.item_log import Delete, ItemLog, Upsert, after
from recsys.state.reencoded_vectors import Reencoded


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


async def test_an_entry_comes_behind_a_snapshot_whatever_the_clock_says(redis):
    """A snapshot's cursor lies an hour ahead of Redis' clock: its mark changes nothing, and what follows it is read."""
    log = ItemLog(redis)
    await log.append([(0, Delete("before"))])
    ahead = f"{after(await log.end(0))[0] + 3_600_000}-7"
    assert not await log.holds(0, ahead)
    assert await log.restore(0, ahead)
    assert not await log.restore(0, ahead)
    assert await log.holds(0, ahead)
    assert await log.end(0) == ahead
    await log.append([(0, Delete("behind"))])
    assert [entry.change for entry in await log.read(0, ahead)] == [Delete("behind")]
    assert [entry.change for entry in await log.read(0, "0-0")] == [Delete("before"), None, Delete("behind")]


async def test_the_end_is_behind_every_entry_that_there_was(redis):
    """Of an empty log, one that was trimmed empty, one that Redis has lost, and one that lags behind a known cursor."""
    log = ItemLog(redis)
    assert await log.end(3) == "0-0"
    first, last = await log.append([(3, Delete("a")), (3, Delete("b"))])
    assert await log.end(3) == last
    assert await log.trim(3, last) == 2
    assert (await redis.xlen(redis_keys.log(3)), await log.end(3)) == (0, last)
    assert await log.holds(3, last)
    assert await log.holds(3, first)
    await redis.delete(redis_keys.log(3))
    assert await log.end(3) == last
    assert await log.end(3, at_least=f"{after(last)[0] + 1}-0") == f"{after(last)[0] + 1}-0"
    await log.check(3, "v", last)
    for cursor in (first, "0-0"):
        with pytest.raises(VersionError, match=rf"shard-3 from {cursor} on, and it was trimmed to {last}"):
            await log.check(3, "v", cursor)


async def test_trimming_looks_at_no_user(redis):
    """Vectors by encoders that are gone go, of the others those of trimmed entries, and Redis walks through no keys."""
    log, kept = ItemLog(redis), Reencoded(redis, "0")
    first, last = await log.append([(0, Delete("a")), (0, Delete("b"))])
    vector = np.ones(3, np.float32)
    for encoder in ("old", "now"):
        await kept.keep(encoder, {first: vector, last: vector})
    await kept.keep("now", {last: vector * 2})  # the first one stays
    await redis.config_resetstat()
    await log.trim(0, first)
    await kept.forget(first, {"now"})
    assert not {"cmdstat_scan", "cmdstat_keys"} & (await redis.info("commandstats")).keys()
    assert await kept.vectors("old", [first, last]) == {}
    np.testing.assert_array_equal((await kept.vectors("now", [first, last]))[last], vector)
    assert (await kept.vectors("now", [first, last])).keys() == {last}
    assert await redis.exists(redis_keys.reencoded("0", "old")) == 0
