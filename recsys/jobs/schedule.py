"""The schedule of unattended jobs: rebuilds by cron or drift, and retraining by cron.

Every composer runs the schedule. A lock in Redis lets one of them run one job at a time, so the schedule survives the
loss of any composer. cronsim parses the expressions: it implements Debian's cron with daylight saving, has no
dependencies, and is maintained by Healthchecks, which depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim
from redis.asyncio import Redis
from redis.exceptions import LockError, RedisError

from recsys.config.unattended import Rebuild, Retrain
from recsys.serving.background import Background
from recsys.state import redis_keys
from recsys.state.job_runs import last_run, record_end, record_first, record_start, unix_seconds_of
from recsys.state.membership import Drift
from recsys.telemetry import SILENT, Telemetry

LOOK_S = 5.0
"""Seconds between two looks at what is due."""
LOCK_S = 60.0
"""Seconds after which the lock of a dead composer expires. Another one then continues the build."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs unattended, on one composer at a time."""

    name: str
    """The name in the log."""
    key: str
    """Redis key of its last run; see `state/job_runs.py`."""
    enabled: Callable[[], bool]
    """Returns whether the settings enable it."""
    due: Callable[[float, float, float], str | None]
    """Returns why it is due, or None. Arguments: now, start and end of the last run, all in Unix seconds."""
    run: Callable[[], Awaitable[Mapping[str, str]]]
    """Runs it and returns its outcome: a version, a result in words."""
    resumes: bool
    """Whether a run that died is repeated at once. Otherwise it waits for its next time: it may have died of its
    memory."""


@dataclass(frozen=True, slots=True)
class Due:
    """The reason to run a job now."""

    reason: str
    died: bool = False
    """Whether the last run died."""


def rebuild_due(
    settings: Rebuild, now: float, began: float, drift: Sequence[Drift], wishes: Sequence[str] = ()
) -> str | None:
    """Return why a rebuild is due, or None. `now` and `began`, the start of the last one: Unix seconds. Cron: UTC.

    `wishes`: why shards ask for one, in words.
    """
    if settings.cron is not None and _passed(settings.cron, now, began):
        return f"cron: {settings.cron}"
    if now - began < settings.pause_s:
        return None
    for name, limit in (("log_share", settings.log_share), ("dead_share", settings.dead_share)):
        worst = max((getattr(d, name) for d in drift), default=0.0)
        if limit is not None and worst > limit:
            return f"drift: {name} is {worst:.3f}, over {limit}"
    least = min((d.recall_at_10 for d in drift), default=1.0)
    if settings.recall_below is not None and least < settings.recall_below:
        return f"drift: recall_at_10 is {least:.3f}, below {settings.recall_below}"
    return wishes[0] if wishes and settings.recall_lost else None


def retraining_due(settings: Retrain, now: float, began: float, ended: float) -> str | None:
    """Return why a retraining is due, or None. `began` and `ended`: the last one's, in Unix seconds."""
    if settings.cron is None or now - ended < settings.pause_s or not _passed(settings.cron, now, began):
        return None
    return f"cron: {settings.cron}"


def _passed(cron: str, now: float, last: float) -> bool:
    """Return whether a time of the expression is after `last` and not after `now`."""
    following = next(CronSim(cron, datetime.fromtimestamp(last, UTC)), None)
    return following is not None and following.timestamp() <= now


class Schedule:
    """Runs jobs, one at a time on the whole platform. Of several that are due the first in the list runs first."""

    def __init__(self, redis: Redis, jobs: Sequence[Job], telemetry: Telemetry = SILENT) -> None:
        self._redis = redis
        self._jobs = jobs
        self._background = Background(telemetry)

    def start(self) -> None:
        self._background.start("schedule", self._step, LOOK_S)

    async def stop(self) -> None:
        await self._background.stop()

    def healthy(self) -> bool:
        return self._background.healthy()

    async def _step(self) -> None:
        await self.step()

    async def step(self) -> str | None:
        """Run a job if one is due and none runs. Return why it was due, or None."""
        if not [job for job in self._jobs if await self._due(job) is not None]:
            return None
        lock = self._redis.lock(redis_keys.REBUILDING, timeout=LOCK_S, blocking=False)
        if not await lock.acquire():
            return None
        try:
            for job in self._jobs:
                due = await self._due(job)  # check again: another composer may have just run it
                if due is not None:
                    await self._run(job, due, lock.reacquire)
                    return due.reason
            return None
        finally:
            with contextlib.suppress(LockError):  # it has expired
                await lock.release()

    async def _due(self, job: Job) -> Due | None:
        if not job.enabled():
            return None
        run = await last_run(self._redis, job.key)
        began, ended = unix_seconds_of(run, "started"), unix_seconds_of(run, "finished")
        if began is None:  # the schedule is new, or Redis has lost the start of the last run
            await record_first(self._redis, job.key)
            return None
        if ended is None:
            return Due(f"it died on the way: {run.get('reason', '')}", died=True)
        reason = job.due(time.time(), began, ended)
        return None if reason is None else Due(reason)

    async def _run(self, job: Job, due: Due, renew: Callable[[], Awaitable[Any]]) -> None:
        if due.died and not job.resumes:
            await self._ended(job, {"error": due.reason})
            return
        log.info("%s: begins (%s)", job.name, due.reason)
        await record_start(self._redis, job.key, due.reason)
        working = asyncio.ensure_future(job.run())
        try:
            if not await _finished(working, renew):
                await _cancel(working)
                log.warning("%s: given up: its lock could not be renewed, and another may have begun", job.name)
                return
        except asyncio.CancelledError:
            working.cancel()
            raise
        error = working.exception()
        await self._ended(job, working.result() if error is None else {"error": str(error)})

    async def _ended(self, job: Job, outcome: Mapping[str, str]) -> None:
        await record_end(self._redis, job.key, outcome)
        if "error" in outcome:
            log.warning("%s: failed, and the served version stays: %s", job.name, outcome["error"])
        else:
            log.info("%s: %s", job.name, outcome.get("result") or outcome.get("version"))


async def _finished(working: asyncio.Future[Any], renew: Callable[[], Awaitable[Any]]) -> bool:
    """Wait for the work and renew the lock meanwhile. Return False when the lock is lost, or may be lost soon.

    A short outage of Redis does not end a long build. An outage of nearly LOCK_S does: another composer takes the
    expired lock, and two must not build at once.
    """
    renewed = time.monotonic()
    while not (await asyncio.wait([working], timeout=LOCK_S / 6))[0]:
        try:
            await renew()
        except LockError:
            return False
        except (RedisError, OSError):
            if time.monotonic() - renewed > LOCK_S * 2 / 3:
                return False
        else:
            renewed = time.monotonic()
    return True


async def _cancel(working: asyncio.Future[Any]) -> None:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
