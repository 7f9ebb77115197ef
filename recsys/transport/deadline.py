"""`asyncio.timeout` for the calls of every batch: in one object, and without two coroutines around each."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """`with Deadline(seconds):` cancels what its task awaits inside when the time is over, and raises TimeoutError.

    Another cancellation of the task goes through, also one that comes at the same moment.
    """

    __slots__ = ("_handle", "_seconds", "_task", "passed")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passed = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._handle = asyncio.get_running_loop().call_later(max(self._seconds, 0.0), self._pass)
        return self

    def _pass(self) -> None:
        self.passed = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._handle.cancel()
        if self.passed and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error
