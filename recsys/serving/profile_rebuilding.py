"""Profiles rebuilt from whole histories, behind the requests: bounded work, short histories first, nothing twice.

After a promotion the profiles of all users are out of date at once. A history of 1,000 events takes some ten
milliseconds of this process and as much of the shards. So no request rebuilds a profile by itself. It asks here, waits
a moment if there is little work before it, and goes on without the profile. A rebuild that has begun is finished and
cached, whether its request still waits or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from msgspec import structs
from redis.exceptions import RedisError

from recsys.datatypes import Floats, Interaction, UserProfile
from recsys.model.profiles import fold
from recsys.model.taste import Taste, needed
from recsys.ranking.served_version import Serve
from recsys.state.histories import StoredHistory
from recsys.state.users import UserStore
from recsys.transport.shard_clients import Shards

_WORKERS = 2
"""Groups under way: one waits for Redis or the shards while the other is worked on."""
_GROUP = 1000
"""Events of the users that are rebuilt together; a longer history is a group of its own."""
WAITING = 5000
"""Users that may wait here. The profile of a user beyond that is asked for again by the next request."""
VECTORS_S = 10.0
"""Seconds for the vectors of one group."""
_LIGHT = 50
"""Events whose folding takes less time than waking a thread."""
_EACH_S, _TELLING = 10e-6, 200
"""Seconds for one event (what one busy core takes) until groups of at least so many events have measured it."""
LACKING_S = (2.0, 600.0)
"""Least and most seconds for which a profile stays cached in which a liked item is missing: the item may come."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A rebuilt profile."""

    profile: UserProfile
    late: tuple[str, ...]
    """Shards that did not send the vectors of their items. Such a profile is used for one answer, and not cached."""


@dataclass(order=True, slots=True)
class Job:
    urgency: tuple[bool, int, int]
    """Sort key: whether the version is not served yet, bit length of the history's length, number of the job."""
    user_id: str = field(compare=False)
    serve: Serve = field(compare=False)
    events: int = field(compare=False)
    key: tuple[str, str, int] = field(compare=False)
    last: int = field(compare=False)
    """Number of its last event among all events that arrived in its line."""
    done: asyncio.Future[Rebuilt | None] = field(compare=False)
    """None: the profile could not be made; the log says why."""


@dataclass(slots=True)
class _Line:
    """Histories of about the same length, rebuilt in the order of their arrival. Both fields count events."""

    arrived: int = 0
    done: int = 0


class Rebuilder:
    def __init__(self, users: UserStore, shards: Shards, taste: Taste) -> None:
        self._users = users
        self._shards = shards
        self._taste = taste
        self._waiting: list[Job] = []
        self._jobs: dict[tuple[str, str, int], Job] = {}
        """Waiting and running jobs, by version, user and sequence."""
        self._lines: dict[tuple[bool, int], _Line] = {}
        """By `early` and the bit length of the histories' lengths, which is the order of work."""
        self._each_s = _EACH_S
        """Seconds for one event, by the last groups."""
        self._ended = 0.0
        """When the last group was done, in monotonic seconds."""
        self._numbers = itertools.count()
        self._workers: set[asyncio.Task[None]] = set()

    def ask(self, user_id: str, sequence: int, events: int, serve: Serve, *, early: bool = False) -> Job | None:
        """Rebuild a user's profile as of this sequence or a later one, and cache it. None: too many are waiting.

        `events`: length of the history. `early`: for a version that is not served yet, after all other work.
        """
        key = (serve.version, user_id, sequence)
        if (job := self._jobs.get(key)) is not None:
            return job
        if len(self._jobs) >= WAITING:
            return None
        urgency = (early, events.bit_length(), next(self._numbers))
        line = self._lines.setdefault(urgency[:2], _Line())
        line.arrived += events
        done: asyncio.Future[Rebuilt | None] = asyncio.get_running_loop().create_future()
        job = self._jobs[key] = Job(urgency, user_id, serve, events, key, line.arrived, done)
        heapq.heappush(self._waiting, job)
        if len(self._workers) < _WORKERS:
            self._workers.add(asyncio.create_task(self._work()))
        return job

    def soon(self, job: Job, within_s: float) -> bool:
        """Whether the job should end within this many seconds, by the events before it; True if there are none."""
        early, bits, _ = job.urgency
        before = job.last - job.events - self._lines[early, bits].done
        before += sum(line.arrived - line.done for of, line in self._lines.items() if of < (early, bits))
        return before <= 0 or (before + job.events) * self._each_s <= within_s

    @property
    def busy(self) -> bool:
        return bool(self._workers)

    async def stop(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        try:
            await self._work_off()
        finally:  # in the same step as the last look at the queue: a job that comes right after it starts a worker
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _work_off(self) -> None:
        while self._waiting:
            group = self._next()
            results: Sequence[Rebuilt | None] = [None] * len(group)
            start = time.monotonic()
            try:
                results = await self._rebuild(group)
                self._measure(sum(job.events for job in group), start)
            except Exception as error:  # noqa: BLE001 - the others wait behind it, and it is asked for again
                log.warning("profiles of %d users could not be rebuilt: %s", len(group), error or type(error).__name__)
            finally:
                for job, result in zip(group, results, strict=True):
                    self._end(job, result)

    def _measure(self, events: int, start: float) -> None:
        end = time.monotonic()
        if events >= _TELLING:  # a small group takes its round trips
            self._each_s += 0.2 * ((end - max(start, self._ended)) / events - self._each_s)
        self._ended = end

    def _next(self) -> list[Job]:
        """Jobs of one version, at most `_GROUP` events together."""
        group = [heapq.heappop(self._waiting)]
        events = group[0].events
        while self._waiting and self._waiting[0].serve.version == group[0].serve.version:
            events += self._waiting[0].events
            if events > _GROUP or self._waiting[0].urgency[0] != group[0].urgency[0]:
                break
            group.append(heapq.heappop(self._waiting))
        return group

    def _end(self, job: Job, result: Rebuilt | None) -> None:
        del self._jobs[job.key]
        self._lines[job.urgency[:2]].done += job.events
        if not job.done.done():
            job.done.set_result(result)

    async def _rebuild(self, group: Sequence[Job]) -> list[Rebuilt | None]:
        serve, (early, _, _) = group[0].serve, group[0].urgency
        stored = await self._users.stored([job.user_id for job in group])
        light = sum(map(len, stored)) <= _LIGHT
        histories, wanted = _read(stored, self._taste, serve) if light else await asyncio.to_thread(
            _read, stored, self._taste, serve
        )  # fmt: skip
        items = dict.fromkeys(item for items in wanted for item in items)
        vectors, late = await self._shards.vectors(serve.version, items, VECTORS_S, bulk=True)
        parts = (stored, histories, vectors, self._taste, serve)
        profiles = _folded(*parts) if light else await asyncio.to_thread(_folded, *parts)
        if not late:
            await self._save(group, profiles, histories, wanted, vectors, early=early)
        return [None if profile is None else Rebuilt(profile, late) for profile in profiles]

    async def _save(
        self,
        group: Sequence[Job],
        profiles: Sequence[UserProfile | None],
        histories: Sequence[Sequence[Interaction]],
        wanted: Sequence[Sequence[str]],
        vectors: Mapping[str, Floats],
        *,
        early: bool,
    ) -> None:
        by_ttl: dict[int | None, dict[str, tuple[UserProfile, Interaction]]] = {}
        for job, profile, history, items in zip(group, profiles, histories, wanted, strict=True):
            if profile is not None:
                ttl_s = lacking_ttl(history, {i for i in items if i not in vectors})
                # A history without a readable event is cached as well, or every request would ask for it again.
                newest = history[-1] if history else Interaction("", job.user_id, "", "", -math.inf)
                by_ttl.setdefault(ttl_s, {})[job.user_id] = (profile, newest)
        with contextlib.suppress(RedisError, OSError):  # only a cache: the waiting request gets its profile anyway
            for ttl_s, some in by_ttl.items():
                await self._users.profiles.save(some, group[0].serve.version, ttl_s, early=early)


def lacking_ttl(events: Sequence[Interaction], lacking: set[str]) -> int | None:
    """Seconds for which a profile stays cached in which these items of the events are missing; None: as long as others.

    It is the age of the newest of these likes, within `LACKING_S`: the item of a recent like is probably on its way,
    that of an old like was probably deleted.
    """
    if not lacking:
        return None
    newest = max(e.timestamp for e in events if e.item_id in lacking)
    return int(min(max(time.time() - newest, LACKING_S[0]), LACKING_S[1]))


def _read(
    stored: Sequence[StoredHistory], taste: Taste, serve: Serve
) -> tuple[list[list[Interaction]], list[list[str]]]:
    histories = [one.events() for one in stored]
    return histories, [needed(history, taste, serve.space) for history in histories]


def _folded(
    stored: Sequence[StoredHistory],
    histories: Sequence[Sequence[Interaction]],
    vectors: Mapping[str, Floats],
    taste: Taste,
    serve: Serve,
) -> list[UserProfile | None]:
    unknown = serve.space.unknown_user()
    cut = structs.replace(unknown, cut=True)
    return [
        fold(cut if one.cut else unknown, history, vectors, taste, one.sequence, serve.space)
        for one, history in zip(stored, histories, strict=True)
    ]
