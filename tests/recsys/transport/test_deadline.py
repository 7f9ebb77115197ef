"""A deadline ends what is awaited inside, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from recsys.transport.deadline import Deadline


async def test_what_is_in_time_is_left_alone() -> None:
    with Deadline(60) as deadline:
        await asyncio.sleep(0)
    assert not deadline.passed


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.01])
async def test_what_is_late_is_cancelled_and_the_task_goes_on(seconds: float) -> None:
    deadline = Deadline(seconds)
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert deadline.passed
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_an_error_of_what_was_cancelled_is_raised_as_it_is() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("no such thing") from None

    deadline = Deadline(0.01)
    with pytest.raises(ValueError, match="no such thing"), deadline:
        await failing()
    assert deadline.passed
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_goes_through() -> None:
    """Also one that comes together with the end of the time."""

    async def waiting(seconds: float) -> None:
        with Deadline(seconds):
            await asyncio.Event().wait()

    for seconds in (60.0, 0.0):
        task = asyncio.create_task(waiting(seconds))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
