"""Bulk work takes what the cores have to spare, and a share of them where that is nothing for long."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from recsys.serving.bulk_threads import BulkThreads


@pytest.fixture
def patient() -> Iterator[BulkThreads]:
    """With a thread of each kind."""
    threads = BulkThreads(1, patience_s=600)
    yield threads
    threads.stop()


def how() -> tuple[int, int]:
    """Policy and niceness of the thread that asks."""
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


async def test_work_is_done_by_a_thread_that_gives_its_core_up_to_any_other(patient: BulkThreads) -> None:
    policy, _ = await patient.run(0.0, how)
    assert policy == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


async def test_work_that_has_waited_for_long_has_a_share_of_the_cores(patient: BulkThreads) -> None:
    """A niceness is added to that of the process."""
    policy, niceness = await patient.run(600.0, how)
    assert policy == os.SCHED_OTHER
    assert niceness > 0


async def test_work_that_no_core_is_spared_for_is_begun_again_by_another_thread() -> None:
    """And what comes behind it does not wait for the thread that stands still."""
    threads, begun, go_on = BulkThreads(1, patience_s=0.05), [], threading.Event()

    def work(number: int) -> int:
        begun.append(os.sched_getscheduler(0))
        if begun[-1] == os.SCHED_IDLE:
            assert go_on.wait(60)
        return number

    try:
        assert [await threads.run(0.0, work, number) for number in (1, 2)] == [1, 2]
        assert begun == [os.SCHED_IDLE, os.SCHED_OTHER, os.SCHED_OTHER]
    finally:
        go_on.set()
        threads.stop()


@pytest.mark.parametrize("waited_s", [0.0, 600.0])
async def test_what_work_raises_is_told(patient: BulkThreads, waited_s: float) -> None:
    with pytest.raises(ZeroDivisionError):
        await patient.run(waited_s, lambda: 1 / 0)
