"""Loops that end only when they are cancelled. What a step raises is logged and counted, and the loop goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from recsys.errors import RecsysError
from recsys.telemetry import SILENT, Telemetry

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 2.0
"""Least and most seconds before a step that failed is tried again; a longer pause of the loop counts."""
ASK_S = 1.0
"""Seconds after which a pause that may change is asked for again: a shorter one counts from then on."""

Step = Callable[[], Awaitable[None] | None]
Pause = float | Callable[[], float]
"""Seconds between two steps; a function where they may change, also while the loop waits."""

log = logging.getLogger(__name__)


async def forever(name: str, step: Step, pause_s: Pause, telemetry: Telemetry = SILENT) -> None:
    """Repeat a step, with `pause_s` seconds between two, until the task is cancelled.

    A step that raises is tried again after the pause, or a quarter of a second if that is longer. The wait doubles, up
    to two seconds, while the step goes on raising.

    Each failure counts in recsys_background_errors_total{task=name}. A name may end in a colon and a version, which the
    label leaves out: versions come and go. Of failures in a row the log has the first, second, fourth and so on.
    """
    task = asyncio.current_task()
    failures = 0
    telemetry.add("recsys_background_errors_total", 0, task=_label(name))
    # A library's asyncio.wait_for swallows, before Python 3.12, a cancellation that comes together with the awaited
    # result (python/cpython#86296). The task still knows of it.
    while task is not None:
        error: BaseException | None = None
        try:
            work = step()
            if work is not None:
                await work
        except asyncio.CancelledError as cancelled:
            if task.cancelling():
                raise
            error = cancelled  # something that the step waited for was cancelled, and not this loop
        except Exception as other:  # noqa: BLE001 - the loop must not end, whatever it is
            error = other
        if task.cancelling():
            return
        wait_s = pause_s() if callable(pause_s) else pause_s
        failures = 0 if error is None else failures + 1
        if error is not None:
            _tell(name, error, failures, telemetry)
            longest_s = max(wait_s, LONGEST_WAIT_S)
            wait_s = min(max(wait_s, FIRST_WAIT_S) * 2.0 ** min(failures - 1, 8), longest_s)
        if error is None and callable(pause_s):
            await _rest(pause_s)
        else:
            await asyncio.sleep(wait_s)


async def _rest(pause_s: Callable[[], float]) -> None:
    """Wait for a pause that may become shorter or longer meanwhile."""
    clock = asyncio.get_running_loop().time
    start = clock()
    await asyncio.sleep(min(pause_s(), ASK_S))  # at least once: other work must have its turn
    while (left_s := start + pause_s() - clock()) > 0:  # noqa: ASYNC110 - nobody tells of a change
        await asyncio.sleep(min(left_s, ASK_S))


class Background:
    """The loops of one replica, by name."""

    def __init__(self, telemetry: Telemetry = SILENT) -> None:
        self._telemetry = telemetry
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, step: Step, pause_s: Pause) -> None:
        """Start a loop, see `forever`. No other loop of the same name may be running."""
        self._tasks[name] = asyncio.create_task(forever(name, step, pause_s, self._telemetry), name=name)

    async def stop(self) -> None:
        """End all loops, and wait for their last steps."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    @property
    def running(self) -> set[str]:
        """Names of the loops that have not ended."""
        return {name for name, task in self._tasks.items() if not task.done()}

    def healthy(self) -> bool:
        """Whether a loop was started, and all of them still run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks.values())


def _label(name: str) -> str:
    return name.partition(":")[0]


def _tell(name: str, error: BaseException, failures: int, telemetry: Telemetry) -> None:
    telemetry.add("recsys_background_errors_total", task=_label(name))
    if failures & (failures - 1):
        return
    expected = isinstance(error, RedisError | OSError | RecsysError)
    text = str(error) or repr(error)
    log.warning("%s failed (%d in a row): %s; trying again", name, failures, text, exc_info=None if expected else error)
