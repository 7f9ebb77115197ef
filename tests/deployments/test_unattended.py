"""What a composer has done unattended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployments import unattended
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning


class Remote:
    """Stands for a task of Ray, which this test does without: what it was started with, and its end."""

    def __init__(self) -> None:
        self.given: tuple[Any, ...] = ()
        self.task: asyncio.Future[dict[str, str]] | None = None

    def remote(self, *given: Any) -> asyncio.Future[dict[str, str]]:
        self.given = given
        self.task = asyncio.get_running_loop().create_future()
        return self.task


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Remote]:
    made = {"rebuild": Remote(), "retraining": Remote()}
    monkeypatch.setattr(unattended, "rebuild_task", made["rebuild"])
    monkeypatch.setattr(unattended, "retraining_task", made["retraining"])
    return made


@pytest.mark.parametrize("number", [0, 1])
async def test_a_version_is_judged_by_the_search_that_is_served(tasks, number):
    """Rebuilds and retrainings get the settings that the shards run with at that moment, not the defaults."""
    running = ShardTuning(ef_search=333)

    async def tuning() -> ShardTuning:
        return running

    job = unattended.jobs(Platform(), Serving, list, list, tuning)[number]
    running = ShardTuning(ef_search=444)
    work = asyncio.ensure_future(job.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task = tasks[job.name]
    assert task.given[0].tuning == ShardTuning(ef_search=444)
    assert task.task is not None
    task.task.set_result({"version": "v"})
    assert await work == {"version": "v"}


async def test_work_that_is_given_up_is_ended(tasks, monkeypatch):
    """A task that went on by itself could promote what it built beside another composer's."""
    ended = []
    monkeypatch.setattr(unattended.ray, "cancel", lambda task, *, force: ended.append((task, force)))

    async def tuning() -> ShardTuning:
        return ShardTuning()

    work = asyncio.ensure_future(unattended.jobs(Platform(), Serving, list, list, tuning)[0].run())
    for _ in range(3):
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert ended == [(tasks["rebuild"].task, True)]


@pytest.mark.parametrize("wishes", [[], ["recall of shard-0: recall@10 of the newest 32 searches is 0.800"]])
async def test_a_rebuild_that_shards_ask_for_begins_with_a_stronger_index(tasks, wishes):
    async def tuning() -> ShardTuning:
        return ShardTuning()

    work = asyncio.ensure_future(unattended.jobs(Platform(), Serving, list, lambda: wishes, tuning)[0].run())
    for _ in range(3):
        await asyncio.sleep(0)
    task = tasks["rebuild"]
    assert task.given[1] == bool(wishes)
    assert task.task is not None
    task.task.set_result({"version": "v"})
    await work
