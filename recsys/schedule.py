"""When a new version is built of what is live, unattended: by a cron expression, or past thresholds of drift.

Every composer looks, and a lock in Redis lets one build at a time; so the schedule outlives any of them. cronsim reads
the expressions: it knows Debian's cron, day-light saving included, has no dependencies, and Healthchecks lives on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim
from redis.asyncio import Redis
from redis.exceptions import LockError, RedisError

from recsys import keys
from recsys.config import Rebuild
from recsys.drift import Drift
from recsys.errors import RecsysError

_LOOK_S = 5.0
_LOCK_S = 60.0
"""The lock of a composer that dies is free after this; then another one goes on with the build."""

log = logging.getLogger(__name__)


def due(settings: Rebuild, now: float, last: float, drift: Sequence[Drift]) -> str | None:
    """Why a rebuild is due; None: it is not. `now` and `last`, when one began, in Unix seconds; cron is in UTC."""
    if settings.cron is not None:
        following = next(CronSim(settings.cron, datetime.fromtimestamp(last, UTC)), None)
        if following is not None and following.timestamp() <= now:
            return f"cron: {settings.cron}"
    if now - last < settings.pause_s:
        return None
    for name, limit in (("log_share", settings.log_share), ("dead_share", settings.dead_share)):
        worst = max((getattr(d, name) for d in drift), default=0.0)
        if limit is not None and worst > limit:
            return f"drift: {name} is {worst:.3f}, over {limit}"
    least = min((d.recall_at_10 for d in drift), default=1.0)
    if settings.recall_below is not None and least < settings.recall_below:
        return f"drift: recall_at_10 is {least:.3f}, below {settings.recall_below}"
    return None


class RebuildSchedule:
    """`rebuild` builds and promotes, and gives the version's name; `drift` is what the replicas measured last."""

    def __init__(
        self, redis: Redis, rebuild: Callable[[], Awaitable[str]], drift: Callable[[], Sequence[Drift]]
    ) -> None:
        self.settings = Rebuild()
        self._redis = redis
        self._rebuild = rebuild
        self._drift = drift
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def healthy(self) -> bool:
        return self._task is not None and not self._task.done()

    async def step(self) -> str | None:
        """Rebuild if it is due and nobody else does; why it was."""
        if not self.settings.wanted:
            return None
        lock = self._redis.lock(keys.REBUILDING, timeout=_LOCK_S, blocking=False)
        if await self._due() is None or not await lock.acquire():
            return None
        try:
            reason = await self._due()  # again: another one may just be through
            if reason is not None:
                await self._run(reason, lock.reacquire)
            return reason
        finally:
            with contextlib.suppress(LockError):  # it ran out meanwhile
                await lock.release()

    async def _due(self) -> str | None:
        known = await last_rebuild(self._redis)
        if not known:  # the schedule is new: it begins now
            await self._redis.hsetnx(keys.REBUILD, "started", repr(time.time()))
            await self._redis.hsetnx(keys.REBUILD, "finished", repr(time.time()))
            return None
        if "finished" not in known:
            return f"it died on the way: {known.get('reason', '')}"
        return due(self.settings, time.time(), float(known["started"]), self._drift())

    async def _run(self, reason: str, renew: Callable[[], Awaitable[Any]]) -> None:
        log.info("rebuilding (%s)", reason)
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(keys.REBUILD)
        pipe.hset(keys.REBUILD, mapping={"started": repr(time.time()), "reason": reason})
        await pipe.execute()
        building = asyncio.ensure_future(self._rebuild())
        try:
            while not (await asyncio.wait([building], timeout=_LOCK_S / 4))[0]:
                with contextlib.suppress(RedisError, OSError):  # a short outage must not end a long build
                    await renew()
        except asyncio.CancelledError:
            building.cancel()
            raise
        wrong = building.exception()
        outcome = ("version", building.result()) if wrong is None else ("error", str(wrong))
        await self._redis.hset(keys.REBUILD, *outcome, items=["finished", repr(time.time())])
        if wrong is not None:
            log.warning("the rebuild failed: %s", wrong)

    async def _forever(self) -> None:
        task = asyncio.current_task()
        while task is not None and not task.cancelling():  # see `replica._forever`
            try:
                await self.step()
            except (RedisError, OSError, RecsysError) as error:
                log.warning("the rebuild schedule: %s; trying again", error)
            await asyncio.sleep(_LOOK_S)


async def last_rebuild(redis: Redis) -> Mapping[str, str]:
    """Of the last unattended rebuild: started, finished (Unix seconds), reason, version or error; empty: none yet."""
    known: Any = await redis.hgetall(keys.REBUILD)
    return {name.decode(): value.decode() for name, value in known.items()}
