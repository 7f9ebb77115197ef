"""When the platform is rebuilt of what is live, and when it learns anew, unattended: by cron, or past drift.

Every composer looks, and a lock in Redis lets one of them do one thing at a time; so the schedule outlives any of them.
cronsim reads the expressions: it knows Debian's cron, day-light saving included, has no dependencies, and Healthchecks
lives on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim
from redis.asyncio import Redis
from redis.exceptions import LockError, RedisError

from recsys.config import Rebuild, Retrain
from recsys.serving.background import Background
from recsys.state import redis_keys
from recsys.state.job_runs import last_run
from recsys.state.membership import Drift
from recsys.telemetry import SILENT, Telemetry

LOOK_S = 5.0
LOCK_S = 60.0
"""The lock of a composer that dies is free after this; then another one goes on with the build."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done unattended, by one composer at a time."""

    name: str
    """As the log has it."""
    key: str
    """Of the hash in Redis that tells its last run."""
    wanted: Callable[[], bool]
    """Whether the settings ask for it at all."""
    due: Callable[[float, float, float], str | None]
    """Why it is due; None: it is not. Given now, and when the last run began and ended, in Unix seconds."""
    run: Callable[[], Awaitable[Mapping[str, str]]]
    """What came of it: a version, a result in words."""
    resumes: bool
    """Whether a run that died is taken up at once; else it waits for its next time: its memory may be why it died."""


@dataclass(frozen=True, slots=True)
class Due:
    """That a job is to run now."""

    reason: str
    """In words."""
    died: bool = False
    """Whether it is because the last run did not come to its end."""


def rebuild_due(settings: Rebuild, now: float, began: float, drift: Sequence[Drift]) -> str | None:
    """Why a rebuild is due; None: it is not. `now` and `began`, of the last one, in Unix seconds; cron is in UTC."""
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
    return None


def retraining_due(settings: Retrain, now: float, began: float, ended: float) -> str | None:
    """Why a retraining is due; None: it is not. `began` and `ended` are of the last one."""
    if settings.cron is None or now - ended < settings.pause_s or not _passed(settings.cron, now, began):
        return None
    return f"cron: {settings.cron}"


def _passed(cron: str, now: float, last: float) -> bool:
    """Whether one of its times lies behind `last` and not behind `now`."""
    following = next(CronSim(cron, datetime.fromtimestamp(last, UTC)), None)
    return following is not None and following.timestamp() <= now


class Schedule:
    """Jobs, of which one at a time runs in the whole platform; of two that are due the first one goes first."""

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
        """Run a job if it is due and no other runs; why it was due."""
        if not [job for job in self._jobs if await self._due(job) is not None]:
            return None
        lock = self._redis.lock(redis_keys.REBUILDING, timeout=LOCK_S, blocking=False)
        if not await lock.acquire():
            return None
        try:
            for job in self._jobs:
                due = await self._due(job)  # again: another composer may just be through
                if due is not None:
                    await self._run(job, due, lock.reacquire)
                    return due.reason
            return None
        finally:
            with contextlib.suppress(LockError):  # it ran out meanwhile
                await lock.release()

    async def _due(self, job: Job) -> Due | None:
        if not job.wanted():
            return None
        known = await last_run(self._redis, job.key)
        began, ended = _moment(known.get("started")), _moment(known.get("finished"))
        if began is None:  # the schedule is new, or Redis has lost when the last run began: it begins now
            now = repr(time.time())
            await self._redis.hset(job.key, mapping={"started": now, "finished": now})
            return None
        if ended is None:
            return Due(f"it died on the way: {known.get('reason', '')}", died=True)
        reason = job.due(time.time(), began, ended)
        return None if reason is None else Due(reason)

    async def _run(self, job: Job, due: Due, renew: Callable[[], Awaitable[Any]]) -> None:
        if due.died and not job.resumes:
            await self._ended(job, {"error": due.reason})
            return
        log.info("%s: begins (%s)", job.name, due.reason)
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(job.key)
        pipe.hset(job.key, mapping={"started": repr(time.time()), "reason": due.reason})
        await pipe.execute()
        working = asyncio.ensure_future(job.run())
        try:
            if not await _kept(working, renew):
                await _given_up(working)
                log.warning("%s: given up: its lock could not be renewed, and another may have begun", job.name)
                return
        except asyncio.CancelledError:
            working.cancel()
            raise
        wrong = working.exception()
        await self._ended(job, working.result() if wrong is None else {"error": str(wrong)})

    async def _ended(self, job: Job, outcome: Mapping[str, str]) -> None:
        told: dict[Any, Any] = {**outcome, "finished": repr(time.time())}
        await self._redis.hset(job.key, mapping=told)
        if "error" in outcome:
            log.warning("%s: failed, and the served version stays: %s", job.name, outcome["error"])
        else:
            log.info("%s: %s", job.name, outcome.get("result") or outcome.get("version"))


async def _kept(working: asyncio.Future[Any], renew: Callable[[], Awaitable[Any]]) -> bool:
    """Wait for the work, renewing the lock; False when the lock is another one's, or may be soon.

    A short outage of Redis does not end a long build. One that lasts nearly as long as the lock does: the next
    composer takes the lock when it has run out, and two must not build at once.
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


async def _given_up(working: asyncio.Future[Any]) -> None:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def _moment(told: str | None) -> float | None:
    """Unix seconds; None for what is missing or no moment."""
    try:
        moment = float(told or "nan")
    except ValueError:
        return None
    return moment if math.isfinite(moment) else None
