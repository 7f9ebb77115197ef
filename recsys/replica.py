"""A shard's replica: the served version and the next one side by side, each following the shard's log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys import wire
from recsys.applying import Encode, LogApplier
from recsys.background import Background
from recsys.candidates import CandidateSet, ShardQuery
from recsys.channel import ChannelServer
from recsys.config import Platform, ShardTuning
from recsys.datatypes import Floats, Item
from recsys.drift import measure
from recsys.errors import Rewound, Unavailable, VersionError
from recsys.evaluation import nearest_query
from recsys.itemlog import ItemLog
from recsys.membership import Drift, Member
from recsys.popularity import PopularityFeed
from recsys.presence import SAY_S, Presence, secret
from recsys.pulse import BEAT_S
from recsys.rejecting import Rejections
from recsys.retrieval import search
from recsys.routing import Router
from recsys.servable import Servable
from recsys.shard import Shard
from recsys.telemetry import SILENT, Telemetry
from recsys.versions import VersionStore
from recsys.watching import ShardWatch

_FOLLOW_S = 0.5
_LINGER_S = 5.0
"""A version that no composer serves any more is kept this long for requests under way."""

_WITHDRAWN_S = 3.0
"""Then the replica says no more that it holds the version, and drops it this much later: a composer that had heard it
just before, and switches back to the version, is heard within a second and a half."""
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
        platform: Platform,
        store: VersionStore,
        redis: Redis,
        encode: Encode,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._number = shard
        self._store = store
        self._servable = Servable(store, platform)
        self._log = LogApplier(shard, redis, encode)
        self._presence = Presence(redis, Member(role="shard", id=replica_id, shard=shard), ("composer",))
        self._redis = redis
        self._telemetry = telemetry
        self._feeds: dict[str, PopularityFeed] = {}
        """One a version: each gives a change once, and a version that is loaded later starts with everything."""
        self._shards: dict[str, Shard] = {}
        self._drift: dict[str, tuple[int, Drift]] = {}
        """By version: the items' generation that was measured, and the drift."""
        self.watch = ShardWatch(shard, self._shards, ItemLog(redis), telemetry)
        self._unused_since: dict[str, float] = {}
        self._background = Background(telemetry)
        self._rejections = Rejections()
        self._served: list[str] = []
        """The promoted version and those before it, as read last."""
        self._tuning = ShardTuning()
        self._channel: ChannelServer | None = None
        self._searching = ThreadPoolExecutor(1, "search")
        """One at a time: a walk uses `threads` cores by itself, and the Python around it would fight for one lock."""

    async def start(self, host: str | None = None) -> None:
        """Load what is served, catch up with the log, and follow both from now on.

        `host`: address on which to open a channel for composers; None: no channel.
        """
        if host is not None:
            self._channel = await ChannelServer.start(host, self._answer, await secret(self._redis))
            address = self._channel.address
            self._presence.member = self._presence.member.model_copy(update={"address": address})
        await self._presence.look()
        if not (await self._load_first(await self._wanted()) or await self._load_first(await self._promoted())):
            reasons = "; ".join(self._rejections.reasons.values())
            raise VersionError(f"shard-{self._number}: none of the promoted versions can be loaded: {reasons}")
        start = self._background.start
        start("presence", self._speak, SAY_S)  # loading another version may take longer than silence is borne
        with contextlib.suppress(RedisError, Unavailable):  # then `_follow` goes on trying
            while await self._load_first(await self._wanted()):
                continue
        self.watch.meter.begin()
        start("follow", self._follow, _FOLLOW_S)
        start("popularity", self._popularity, lambda: self._tuning.poll_s)
        start("drift", self._measure, lambda: self._tuning.drift_s)
        start("watch", self.watch.beat, BEAT_S)
        start("recall", lambda: self.watch.measure_recall(self._tuning.recall_share), 0.0)

    async def stop(self) -> None:
        await self._background.stop()
        await self._presence.leave()
        if self._channel is not None:
            # Composers look for who is there several times a second: no new call comes after that, and open ones end.
            await asyncio.sleep(_LEAVE_S)
            self._channel.stop()
        self._searching.shutdown(wait=False, cancel_futures=True)

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning
        for shard in list(self._shards.values()):
            shard.tune(tuning)

    @property
    def tuning(self) -> ShardTuning:
        """The settings that it searches with now."""
        return self._tuning

    def healthy(self) -> bool:
        """Whether it serves, and everything that runs in the background still does."""
        return bool(self._shards) and self._background.healthy()

    async def search(self, query: ShardQuery) -> CandidateSet:
        shard = self._shard(query.version)
        with self.watch.asked(query):
            # A writer may hold the index for some milliseconds: the loop does not wait for it.
            if _light(query) and not shard.changing.locked():
                return self.watch.search(shard, query)
            deadline = time.monotonic() + query.left_s
            return await asyncio.get_running_loop().run_in_executor(
                self._searching, self._search_until, deadline, shard, query
            )

    def _search_until(self, deadline: float, shard: Shard, query: ShardQuery) -> CandidateSet:
        """In the search thread. Raises Unavailable when nobody waits any more: the searches behind it are of use."""
        if time.monotonic() > deadline:
            raise Unavailable(f"shard-{self._number} came to the search after its caller had given up")
        return self.watch.search(shard, query)

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

    async def _wanted(self) -> list[str]:
        """Versions that composers serve or ask for, and the promoted one behind them.

        What silent composers said last counts, too: they may be serving all the same.
        """
        promoted = await self._promoted()
        words = self._presence.known("composer")
        said = [v for m in words for v in (m.serving, m.asks) if v is not None]
        return list(dict.fromkeys([*said, promoted[0]]))

    async def _promoted(self) -> list[str]:
        """The promoted version, and those served before it, newest first."""
        self._served = await asyncio.to_thread(self._servable.read)
        return self._served

    async def _load_first(self, versions: Sequence[str]) -> bool:
        """Load the first of the versions that is not here and opens; False when there is none."""
        for version in versions:
            if version in self._shards or self._rejections.resting(version):
                continue
            try:
                await self._load(version)
            except (RedisError, Unavailable):
                raise  # Redis or the encoder is away, and nothing is wrong with the version
            except Exception as error:  # noqa: BLE001 - what is loaded goes on, whatever is wrong with another
                self._rejections.add(f"shard-{self._number}", version, error)
            else:
                self._rejections.remove(version)
                return True
        return False

    async def _load(self, version: str) -> None:
        """Read a version's files, apply the log, and serve the result; in place of the one that is held, if one is."""
        shard = await asyncio.to_thread(self._store.load, version, self._number)
        manifest = await asyncio.to_thread(self._store.manifest, version)
        while await self._log.catch_up(shard, manifest.fingerprint):
            continue
        # Last, for it may have been trimmed meanwhile.
        await self._log.check(version, shard.snapshot, manifest.created_at.timestamp())
        router = Router(manifest.routing, len(manifest.shards))
        feed = PopularityFeed(self._redis, router.feed_of(self._number))
        await feed.follow(shard)
        # The first search reads the memory map from the disk: nobody's request should wait for that.
        await asyncio.to_thread(_warm_up, shard)
        shard.tune(self._tuning)  # last, for it may have changed meanwhile
        self._shards[version], self._feeds[version] = shard, feed
        if f"log:{version}" not in self._background.names:
            self._background.start(f"log:{version}", lambda: self._tail(version, manifest.fingerprint), 0.0)
        await self._say()
        log.info("shard-%d serves version %s with %d items", self._number, version, shard.items.live)

    async def _tail(self, version: str, fingerprint: str) -> None:
        try:
            entries = await self._log.catch_up(self._shards[version], fingerprint, wait_ms=500)
        except Rewound as rewound:
            log.warning("%s; loading it again", rewound)
            await self._load(version)
            return
        if entries:
            self.watch.applied(entries)
            await self._say()

    async def _popularity(self) -> None:
        for version, shard in list(self._shards.items()):
            if self._shards.get(version) is shard:  # else it was dropped or loaded again meanwhile
                await self._feeds[version].follow(shard)

    async def _measure(self) -> None:
        for version, shard in list(self._shards.items()):
            generation = shard.items.generation
            if self._drift.get(version, (None,))[0] != generation:
                self._drift[version] = (generation, await asyncio.to_thread(measure, shard))
        self._drift = {v: d for v, d in self._drift.items() if v in self._shards}

    async def _follow(self) -> None:
        """Load what was promoted or asked for, drop what nobody serves any more."""
        wanted = await self._wanted()
        while await self._load_first(wanted):
            wanted = await self._wanted()
        self._rejections.keep([*wanted, *self._served])
        self._telemetry.set("recsys_rejected_versions", self._rejections.among(wanted))
        # Composers that are not heard may serve anything: only what they said lets a version go.
        spoken = any(m.serving for m in self._presence.known("composer"))
        for version in list(self._shards):
            if version in wanted or not spoken:
                self._unused_since.pop(version, None)
                continue
            since = self._unused_since.setdefault(version, time.monotonic())
            if time.monotonic() - since > _LINGER_S + _WITHDRAWN_S:
                self._background.end(f"log:{version}")
                del self._shards[version], self._unused_since[version], self._feeds[version]

    async def _speak(self) -> None:
        """By itself: loading a version takes long, and a replica that is silent counts as gone."""
        try:
            await self._presence.say(self._word)
        finally:  # a Redis that takes no word may tell those of others
            await self._presence.look()

    async def _say(self) -> None:
        """At once. Where Redis does not take it, the loop `presence` says it again."""
        with contextlib.suppress(RedisError, OSError):
            await self._presence.say(self._word)

    def _word(self, member: Member) -> Member:
        long_ago = time.monotonic() - _LINGER_S
        held = {v: s for v, s in self._shards.items() if self._unused_since.get(v, math.inf) > long_ago}
        update = {
            "versions": {v: s.cursor for v, s in held.items()},
            "rejected": self._rejections.reasons,
            "items": {v: s.items.live for v, s in held.items()},
            "drift": {v: self._drift[v][1] for v in held if v in self._drift},
        }
        return member.model_copy(update=update)


def _light(query: ShardQuery) -> bool:
    """Whether a search is over sooner than a thread is woken; other ones would keep the loop from its calls."""
    return int(np.count_nonzero(query.vector_k)) <= _LIGHT_WALKS and not any(query.filters)


def _warm_up(shard: Shard) -> None:
    """Searches like those that users make, unmeasured."""
    rows = shard.items.live_rows()[:_WARM_UP]
    if len(rows):
        search(shard, nearest_query(shard.version, shard.items.vectors(rows), 10))
