"""A shard's replica: the served version and the next one side by side, each following the shard's log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys import wire
from recsys.applying import Encode, LogApplier
from recsys.candidates import CandidateSet, ShardQuery
from recsys.channel import ChannelServer
from recsys.config import ShardTuning
from recsys.datatypes import Floats, Item
from recsys.drift import Drift, measure
from recsys.errors import Unavailable, VersionError
from recsys.evaluation import nearest_query
from recsys.itemlog import ItemLog
from recsys.membership import Member, Members
from recsys.popularity import PopularityFeed
from recsys.retrieval import search
from recsys.shard import Shard
from recsys.telemetry import SILENT, Telemetry
from recsys.versions import VersionStore
from recsys.watching import ShardWatch

_FOLLOW_S = 0.5
_LINGER_S = 5.0
"""A version that no composer serves any more is kept this long for requests under way."""

_WITHDRAWN_S = 2.0
"""Then the replica says no more that it holds the version, and drops it this much later: a composer that had heard it
just before, and switches back to the version, says so within half a second."""
_LEAVE_S = 1.0
"""Seconds from signing off to closing, so that no call is lost when a replica is scaled away."""

_WARM_UP = 64
"""Searches before a version counts as ready: a full batch of the composer's."""

_LIGHT_WALKS = 4
"""Graph walks of about 0.2 ms each that are done in the event loop itself."""

log = logging.getLogger(__name__)


class ShardReplica:
    def __init__(
        self,
        shard: int,
        replica_id: str,
        store: VersionStore,
        redis: Redis,
        encode: Encode,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._number = shard
        self._store = store
        self._log = LogApplier(shard, redis, encode)
        self._members = Members(redis)
        self._redis = redis
        self._feeds: dict[str, PopularityFeed] = {}
        """One a version: each gives a change once, and a version that is loaded later starts with everything."""
        self._member = Member(role="shard", id=replica_id, shard=shard)
        self._shards: dict[str, Shard] = {}
        self._drift: dict[str, tuple[int, Drift]] = {}
        """By version: the items' generation that was measured, and the drift."""
        self.watch = ShardWatch(shard, self._shards, ItemLog(redis), telemetry)
        self._unused_since: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tuning = ShardTuning()
        self._channel: ChannelServer | None = None
        self._saying = asyncio.Lock()
        self._searching = ThreadPoolExecutor(1, "search")
        """One at a time: a walk uses `threads` cores by itself, and the Python around it would fight for one lock."""

    async def start(self, host: str | None = None) -> None:
        """Load what is served, catch up with the log, and follow both from now on.

        `host`: address on which to open a channel for composers; None: no channel.
        """
        if host is not None:
            self._channel = await ChannelServer.start(host, self._answer, await self._members.secret())
            self._member = self._member.model_copy(update={"address": self._channel.address})
        try:
            while any(version not in self._shards for version in await self._wanted()):
                await self._load_wanted()
        except VersionError:
            if not self._shards:
                raise
            # What the composers serve is here; `_follow` goes on trying the promoted one.
        self.watch.meter.begin()
        steps = {
            "follow": self._follow,
            "presence": self._presence,
            "popularity": self._popularity,
            "drift": self._measure,
            "watch": self.watch.beat,
            "recall": lambda: self.watch.measure_recall(self._tuning.recall_share),
        }
        for name, step in steps.items():
            self._tasks[name] = asyncio.create_task(_forever(name, step))

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):  # then it is struck off for its silence
            await self._members.leave(self._member)
        if self._channel is not None:
            # Composers look for who is there several times a second: no new call comes after that, and open ones end.
            await asyncio.sleep(_LEAVE_S)
            self._channel.stop()
        self._searching.shutdown(wait=False, cancel_futures=True)

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning
        for shard in list(self._shards.values()):
            shard.tune(tuning)

    def healthy(self) -> bool:
        """Whether it serves, and everything that runs in the background still does."""
        return bool(self._shards) and not any(task.done() for task in self._tasks.values())

    async def search(self, query: ShardQuery) -> CandidateSet:
        shard = self._shard(query.version)
        with self.watch.asked(query):
            if _light(query):
                return self.watch.search(shard, query)
            return await asyncio.get_running_loop().run_in_executor(self._searching, self.watch.search, shard, query)

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        return self._shard(version).vectors_of(item_ids)

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        found = map(self._shard(version).item, item_ids)
        return [item for item in found if item is not None]

    async def _answer(self, method: int, payload: bytes) -> bytes:
        """A call that came over the channel."""
        if method == wire.SEARCH:
            return wire.encode(await self.search(wire.decode_query(payload)))
        asked = wire.decode_lookup(payload)
        if method == wire.VECTORS:
            return wire.encode(wire.Found(*await self.vectors(asked.version, asked.item_ids)))
        if method == wire.ITEMS:
            return wire.encode(await self.items(asked.version, asked.item_ids))
        raise ValueError(f"there is no method {method}")

    def _shard(self, version: str) -> Shard:
        shard = self._shards.get(version)
        if shard is None:
            raise Unavailable(f"shard-{self._number} does not hold version {version}")
        return shard

    async def _current(self) -> str:
        current = await asyncio.to_thread(self._store.current)
        if current is None:
            raise VersionError("no version is promoted; `recsys build` and `recsys promote` make one")
        return current

    async def _wanted(self) -> list[str]:
        """Versions that composers serve, and the promoted one behind them."""
        members = await self._members.all()
        served = [m.serving for m in members if m.role == "composer" and m.serving is not None]
        return list(dict.fromkeys([*served, await self._current()]))

    async def _load_wanted(self) -> None:
        for version in await self._wanted():
            if version not in self._shards:
                await self._load(version)

    async def _load(self, version: str) -> None:
        shard = await asyncio.to_thread(self._store.load, version, self._number)
        snapshot, fingerprint = shard.cursor, self._store.manifest(version).fingerprint
        while await self._log.catch_up(shard, fingerprint):
            continue
        await self._log.check(version, snapshot)  # last: it may have been trimmed meanwhile
        self._feeds[version] = PopularityFeed(self._redis)
        shard.count(await self._feeds[version].changes())
        # The first search reads the memory map from the disk: nobody's request should wait for that.
        await asyncio.to_thread(_warm_up, shard)
        shard.tune(self._tuning)  # last, for it may have changed meanwhile
        self._shards[version] = shard
        self._tasks[f"log:{version}"] = asyncio.create_task(
            _forever(f"log:{version}", lambda: self._tail(shard, fingerprint))
        )
        await self._say()
        log.info("shard-%d serves version %s with %d items", self._number, version, shard.items.live)

    async def _tail(self, shard: Shard, fingerprint: str) -> None:
        entries = await self._log.catch_up(shard, fingerprint, wait_ms=500)
        if entries:
            self.watch.applied(entries)
            await self._say()

    async def _popularity(self) -> None:
        for version, shard in list(self._shards.items()):
            async with shard.changing:  # the look as well: an upsert in between has newer numbers
                await asyncio.to_thread(shard.count, await self._feeds[version].changes())
        await asyncio.sleep(self._tuning.poll_s)

    async def _measure(self) -> None:
        for version, shard in list(self._shards.items()):
            generation = shard.items.generation
            if self._drift.get(version, (None,))[0] != generation:
                self._drift[version] = (generation, await asyncio.to_thread(measure, shard))
        self._drift = {v: d for v, d in self._drift.items() if v in self._shards}
        await asyncio.sleep(self._tuning.drift_s)

    async def _follow(self) -> None:
        """Load what was promoted, drop what nobody serves any more."""
        await self._load_wanted()
        wanted = await self._wanted()
        for version in list(self._shards):
            if version in wanted:
                self._unused_since.pop(version, None)
                continue
            since = self._unused_since.setdefault(version, time.monotonic())
            if time.monotonic() - since > _LINGER_S + _WITHDRAWN_S:
                self._tasks.pop(f"log:{version}").cancel()
                del self._shards[version], self._unused_since[version], self._feeds[version]
        await asyncio.sleep(_FOLLOW_S)

    async def _presence(self) -> None:
        """By itself: loading a version takes long, and a replica that is silent counts as gone."""
        await self._say()
        await asyncio.sleep(_FOLLOW_S)

    async def _say(self) -> None:
        async with self._saying:  # one at a time, or an older word could overtake a newer
            long_ago = time.monotonic() - _LINGER_S
            held = {v: s for v, s in self._shards.items() if self._unused_since.get(v, math.inf) > long_ago}
            versions = {v: s.cursor for v, s in held.items()}
            update = {
                "versions": versions,
                "items": {v: s.items.live for v, s in held.items()},
                "drift": {v: self._drift[v][1] for v in held if v in self._drift},
            }
            self._member = self._member.model_copy(update=update)
            await self._members.say(self._member)


def _light(query: ShardQuery) -> bool:
    """Whether a search is over sooner than a thread is woken; other ones would keep the loop from its calls."""
    return int(np.count_nonzero(query.vector_k)) <= _LIGHT_WALKS and not any(query.filters)


def _warm_up(shard: Shard) -> None:
    """Searches like those that users make, unmeasured."""
    rows = shard.items.live_rows()[:_WARM_UP]
    if len(rows):
        search(shard, nearest_query(shard.version, shard.items.vectors(rows), 10))


async def _forever(name: str, step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step; when Redis or the version store is away, say so and try again.

    A cancellation can be lost on the way: before Python 3.12, asyncio.wait_for, which redis sends with, swallows one
    that comes together with the awaited result (python/cpython#86296). The task still knows of it.
    """
    task = asyncio.current_task()
    while task is not None and not task.cancelling():
        try:
            await step()
        except (RedisError, OSError, Unavailable, VersionError) as error:
            log.warning("%s: %s; trying again", name, error)
            await asyncio.sleep(_FOLLOW_S)
