"""What came of a day's answers is joined seldom, whether that succeeds or not."""

from __future__ import annotations

import time

import pytest

from recsys.outcomes.log_files import LogFiles, hour_of
from recsys.outcomes.summary import Summary
from recsys.state import redis_keys


async def test_a_join_that_fails_is_tried_again_as_seldom_as_one_that_does_not(redis, tmp_path):
    """It takes as long. Every fifteen seconds it would take a core of the machine that serves."""
    files = LogFiles(tmp_path / "log")
    begin_ms = round(time.time() * 1000) - 3_600_000
    folder = tmp_path / "log" / "answers" / hour_of(begin_ms)
    folder.mkdir(parents=True)
    (folder / f"{begin_ms}.parquet").write_bytes(b"not a table")
    summary = Summary(redis, files, dict, lambda: 60.0)
    with pytest.raises(OSError, match="cannot be read"):
        await summary.step()
    assert await redis.ttl(redis_keys.SUMMARY) > 200
    await summary.step()


async def test_where_nothing_was_logged_a_look_is_cheap_and_comes_soon(redis, tmp_path):
    """A platform that has just started has answers within a minute."""
    await Summary(redis, LogFiles(tmp_path / "log"), dict, lambda: 60.0).step()
    assert 0 < await redis.ttl(redis_keys.SUMMARY) <= 15
