"""From the streams to files: each row once, whoever writes and whenever they die; hours are made one file and go."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace

import msgspec
import pyarrow as pa
import pytest

from recsys.outcomes import collecting
from recsys.outcomes.collecting import Collector, tidy
from recsys.outcomes.log_files import HOUR_MS, WHOLE, LogFiles, begin_of, hour_of
from recsys.outcomes.tables import answers_table
from recsys.state import redis_keys
from recsys.state.slate_columns import decode_answers, encode_answers
from recsys.state.slate_log import Entry, SlateLog
from recsys.state.slate_stream import SlateStream, StreamEntry
from tests.support.slate_log import answer, collect, rows
from tests.support.world import event


@pytest.fixture(params=["folder", "store"])
def files(request, tmp_path):
    """In a folder, and in an object store."""
    return LogFiles(tmp_path / "log" if request.param == "folder" else f"memory://{uuid.uuid4().hex}/log")


def table(begins_ms: int, *request_ids: str):
    """Of one entry for each."""
    return answers_table(
        [
            StreamEntry(f"{begins_ms + n}-0", 1, 0, bytes(8), encode_answers([answer(request_id, ["a"])]))
            for n, request_id in enumerate(request_ids)
        ]
    )


async def fill(log: SlateLog, writes: int) -> list[str]:
    """Write entries of two answers each, over some slots; the ids of their requests."""
    for number in range(1, writes + 1):
        await log.write("w", number, [Entry.of([answer(f"{number}-{n}", ["a", "b"]) for n in range(2)])], 0, 0.0)
        await log.tell([event("u", "a", request_id=f"{number}-0")])
        await asyncio.sleep(0.01)
    return [f"{number}-{n}" for number in range(1, writes + 1) for n in range(2)]


async def test_each_row_is_in_the_files_once(redis, files, short_slots):
    """With two collectors at work beside the writer, whose locks are lost all the time."""
    log = SlateLog(redis, most=10_000, token_s=60)
    over = asyncio.Event()

    async def collecting_on():
        collector = Collector(redis, files, lambda: 10**6)
        while not over.is_set():
            await collector.step()
            await redis.delete(redis_keys.COLLECTING)
            await asyncio.sleep(0.005)

    collectors = [asyncio.create_task(collecting_on()) for _ in range(2)]
    requests = await fill(log, 40)
    over.set()
    await asyncio.gather(*collectors)
    await collect(redis, files)
    assert sorted(row["request_id"] for row in rows(files, "answers")) == sorted(requests)
    assert len(rows(files, "outcomes")) == 40
    assert await redis.hget(redis_keys.waiting(redis_keys.ANSWERS), "rows") == b"0"


async def test_memory_that_tables_took_is_given_back(redis, files, short_slots, monkeypatch):
    """After each slot, or each would leave a composer larger by what it took, in another thread."""
    at: list[int] = []
    held = SimpleNamespace(release_unused=lambda: at.append(len(rows(files, "answers"))))
    monkeypatch.setattr(pa, "default_memory_pool", lambda: held)
    await fill(SlateLog(redis, most=10_000, token_s=60), 20)
    await collect(redis, files)
    assert sorted(at) == at
    assert at[0] > 0
    assert at[-1] == 40


async def test_a_collector_that_dies_between_file_and_stream_doubles_nothing(redis, files, short_slots, monkeypatch):
    """The next one writes the same file again."""
    requests = await fill(SlateLog(redis, most=10_000, token_s=60), 20)

    async def dies(self, slot):
        raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(SlateStream, "drop", dies)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await Collector(redis, files, lambda: 10**6).step()
            await redis.delete(redis_keys.COLLECTING)
    await collect(redis, files)
    assert sorted(row["request_id"] for row in rows(files, "answers")) == sorted(requests)


def test_hours_that_are_over_become_one_file(files):
    """Once, and again when a slot is written late; the hour under way stays in slots."""
    begin = begin_of("2026-11-27T22")
    for slot, ids in ((0, ("a", "b")), (10_000, ("c",)), (HOUR_MS, ("d",))):
        files.merge("answers", hour_of(begin + slot), f"{begin + slot}.parquet", table(begin + slot, *ids))
    tidy(files, "answers", begin + HOUR_MS, keep_hours=100)
    assert list(files.sizes("answers", "2026-11-27T22")) == [WHOLE]
    assert list(files.sizes("answers", "2026-11-27T23")) == [f"{begin + HOUR_MS}.parquet"]
    # A process that was suspended for an hour writes what it had read of a slot.
    files.merge("answers", "2026-11-27T22", f"{begin}.parquet", table(begin, "a", "b"))
    tidy(files, "answers", begin + HOUR_MS, keep_hours=100)
    assert list(files.sizes("answers", "2026-11-27T22")) == [WHOLE]
    assert [row["request_id"] for row in rows(files, "answers")] == ["a", "b", "c", "d"]


def test_hours_that_are_kept_no_longer_go(files):
    """And what is no folder of an hour stays."""
    begin = begin_of("2026-11-27T20")
    for hour in range(4):
        at = begin + hour * HOUR_MS
        files.merge("answers", hour_of(at), f"{at}.parquet", table(at, f"r{hour}"))
    files.merge("answers", "notes", "mine.parquet", table(begin, "mine"))
    tidy(files, "answers", begin + 4 * HOUR_MS, keep_hours=2)
    assert files.hours("answers") == ["2026-11-27T22", "2026-11-27T23"]
    assert files.read("answers", "notes", "mine.parquet") is not None


def test_large_hours_stay_in_slots(files, monkeypatch):
    """All of one in memory at once would be much."""
    monkeypatch.setattr(collecting, "LARGEST", 100)
    begin = begin_of("2026-11-27T20")
    files.merge("answers", "2026-11-27T20", f"{begin}.parquet", table(begin, "a"))
    tidy(files, "answers", begin + HOUR_MS, keep_hours=2)
    assert list(files.sizes("answers", "2026-11-27T20")) == [f"{begin}.parquet"]


LACKING = msgspec.structs.replace(decode_answers(encode_answers([answer("r", ["a"])])), items="a\nb")
"""It says that it has one item."""


@pytest.mark.parametrize("data", [b"\x93abc", msgspec.msgpack.encode(LACKING)])
async def test_an_entry_that_cannot_be_read_does_not_hold_up_the_others(redis, files, short_slots, caplog, data):
    """Of another release, say."""
    log = SlateLog(redis, most=100, token_s=60)
    await log.write("w", 1, [Entry.of([answer("r1", ["a"])])], 0, 0.0)
    await redis.xadd(redis_keys.ANSWERS, {"rows": 1, "lost": 0, "users": bytes(8), "data": data})
    await log.write("w", 2, [Entry.of([answer("r2", ["a"])])], 0, 0.0)
    await collect(redis, files)
    assert [row["request_id"] for row in rows(files, "answers")] == ["r1", "r2"]
    assert "1 entries of the log of answers cannot be read" in caplog.text


def test_storage_that_cannot_be_reached_is_an_oserror():
    """Whatever its own library raises."""
    with pytest.raises(OSError, match="nowhere://x cannot be reached"):
        LogFiles("nowhere://x").hours("answers")
