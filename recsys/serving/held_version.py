"""One version in a shard's replica: opened from its files, brought up to the log, searched, and retired."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.tuning import ShardTuning
from recsys.errors import Rewound, Unavailable
from recsys.serving.background import Background
from recsys.serving.encoder_calls import Encode
from recsys.serving.log_applier import TOGETHER, LogApplier
from recsys.serving.popularity_feed import PopularityFeed
from recsys.serving.recall_holding import RecallHolding
from recsys.shard.drift import measure
from recsys.shard.filtered_recall import FilteredRecall
from recsys.shard.fresh_rows import MOST
from recsys.shard.live_recall import LiveRecall, Measured
from recsys.shard.plan_costs import measured
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.state.item_log import Entry, ItemLog, Upsert, after
from recsys.state.membership import Drift, VersionState
from recsys.telemetry import SILENT, Telemetry
from recsys.versions.manifest import Manifest
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore

LINGER_S = 5.0
"""Seconds for which a version that no composer serves any more is kept, for requests under way."""
WITHDRAWN_S = 3.0
"""Seconds between leaving the replica's record and being dropped. A composer that has just read the older record and
switches back to the version is heard within a second and a half."""
_LOOK_AGAIN_S = 0.005
"""Seconds between two looks whether the log was read."""
_REST_S = 0.02
"""Seconds between a reading of the log that brought something and the next. A reading takes five round trips, however
little it brings: what is written item by item comes some at a time, and leaves searches the processor."""
_WAIT_MS = 500
"""Milliseconds that one reading of the log waits for an entry."""
_FRESH_S = 0.2
"""Seconds without an item that came after which fresh rows are linked: a call of many items, which come part by part as
their texts are encoded, is visible before that, and has the processor to itself."""
_MOST_FRESH_S = 2.0
"""Seconds after the first came after which they are in any case: the index keeps dead rows until those before them
are linked."""
_LINK_FROM = MOST // 2
"""Fresh rows that are not waited with."""
LINKED = 32
"""Fresh rows linked between two looks at what else has come: some 15 ms of work."""
_WARM_UP = 64
"""Searches before a version counts as ready: a full batch of the composer's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardSource:
    """What every version of one shard is opened with."""

    number: int
    store: VersionStore
    redis: Redis
    encode: Encode
    telemetry: Telemetry = SILENT


class HeldVersion:
    """`open` loads it, `serve` keeps it up to date from then on, and `retire` ends that.

    `shard` is replaced by another one when Redis has lost entries of the log that this one had applied.
    """

    def __init__(self, manifest: Manifest, source: ShardSource, shard: Shard, feed: PopularityFeed) -> None:
        """For `open` alone."""
        self.version = manifest.version
        self.shard = shard
        self.recall = LiveRecall()
        self.filtered_recall = FilteredRecall()
        self.holding = RecallHolding(f"shard-{source.number}, version {manifest.version}", exact=manifest.index.exact)
        self.drift: Drift | None = None
        """As measured last; None: not yet."""
        self._manifest = manifest
        self._source = source
        self._feed = feed
        self._log = LogApplier(source.number, manifest.layout, source.redis, source.encode)
        self._entries = ItemLog(source.redis, manifest.layout)
        self._tuning = ShardTuning()
        self._measured = -1
        """The items' generation of which `drift` is; -1: of none."""
        self._unused_since = math.inf
        """In monotonic seconds; infinity: it is in use."""
        self._background = Background(source.telemetry)
        self._came = asyncio.Event()
        """Set while there may be fresh rows to link."""
        self._came_at = self._first_came_at = math.inf
        """When the last and the first of them came, by time.monotonic()."""
        self.read_at = time.monotonic()
        """When the last reading that came to the log's end began, or failed, by time.monotonic()."""

    @classmethod
    async def open(cls, version: str, source: ShardSource) -> HeldVersion:
        """Load the version, and apply all that the log holds behind it.

        Raises VersionError when its files are damaged or the log behind them is gone, Unavailable when no encoder makes
        the vectors of the log's entries, and RedisError.
        """
        manifest = await asyncio.to_thread(source.store.manifest, version)
        return cls(manifest, source, *await _load(manifest, source))

    def serve(self, applied: Callable[[Sequence[Entry]], Awaitable[None]]) -> None:
        """Follow the log, link what it brings, and follow popularity and drift.

        `applied` is awaited after entries of the log became visible.
        """
        start = self._background.start
        start(f"log:{self.version}", lambda: self._follow_log(applied), 0.0)
        start(f"link:{self.version}", self._link_fresh, 0.0)
        start(f"popularity:{self.version}", self._follow_popularity, lambda: self._tuning.poll_s)
        start(f"drift:{self.version}", self._measure_drift, lambda: self._tuning.drift_s)

    async def retire(self) -> None:
        """End what `serve` began. Searches under way still finish."""
        await self._background.stop()

    def healthy(self) -> bool:
        """Whether everything that `serve` began still runs."""
        return self._background.healthy()

    def tune(self, tuning: ShardTuning) -> None:
        """Take over the settings of searches to come."""
        self._tuning = tuning
        self.holding.tune(self.shard, tuning)

    def measure_recall(self) -> Measured:
        """Answer some searches again, and hold the recall over its floor. To be called in a thread."""
        measured = self.recall.measure(self.shard)
        self.holding.observe(self.shard, measured, time.monotonic())
        return measured

    def note_use(self, *, used: bool) -> None:
        """`used`: whether a composer serves the version, or may."""
        self._unused_since = math.inf if used else min(self._unused_since, time.monotonic())

    @property
    def unused(self) -> bool:
        return self._unused_since < math.inf

    @property
    def announced(self) -> bool:
        """Whether the replica's record names the version: until it has not been used for some seconds."""
        return time.monotonic() - self._unused_since < LINGER_S

    @property
    def expired(self) -> bool:
        """Whether the version may be dropped: it was withdrawn from the record some seconds ago."""
        return time.monotonic() - self._unused_since > LINGER_S + WITHDRAWN_S

    async def read_again(self, moment: float, left_s: float) -> None:
        """Wait for the log to be read to its end, in a reading that began after the moment.

        Raises Unavailable when that takes over `left_s` seconds.
        """
        deadline = time.monotonic() + left_s
        while self.read_at < moment:
            if time.monotonic() > deadline:
                raise Unavailable(f"version {self.version} is reading what came while the process stood still")
            await asyncio.sleep(_LOOK_AGAIN_S)

    def state(self) -> VersionState:
        """For the replica's record."""
        return VersionState(
            cursor=self.shard.cursor,
            layout=self._manifest.layout,
            items=self.shard.items.live,
            drift=self.drift,
            recall=self.holding.state(),
        )

    async def lag_s(self) -> float:
        """Seconds since the oldest entry that it has not applied was written; 0.0 when there is none."""
        waiting = await self._entries.read(self._source.number, self.shard.cursor, limit=1)
        return max(time.time() - after(waiting[0].sequence)[0] / 1000, 0.0) if waiting else 0.0

    async def log_length(self) -> int:
        """Entries of its log."""
        return await self._entries.length(self._source.number)

    async def _follow_log(self, applied: Callable[[Sequence[Entry]], Awaitable[None]]) -> None:
        start = time.monotonic()
        try:
            entries = await self._log.catch_up(self.shard, self._manifest.fingerprint, wait_ms=_WAIT_MS)
        except (RedisError, OSError):
            self.read_at = start  # nothing that was acknowledged can be read: what is here is all there is to serve
            raise
        except Rewound as rewound:
            log.warning("%s; loading it again", rewound)
            shard, feed = await _load(self._manifest, self._source)
            self.holding.tune(shard, self._tuning)
            self.shard, self._feed = shard, feed
            self.read_at = start
            await applied(())
            return
        if len(entries) < TOGETHER:
            self.read_at = start
        if entries:
            if any(isinstance(entry.change, Upsert) for entry in entries):
                self._came_at = time.monotonic()
                if not self._came.is_set():
                    self._first_came_at = self._came_at
                    self._came.set()
            await applied(entries)
            if len(entries) < TOGETHER:
                await asyncio.sleep(_REST_S)

    async def _link_fresh(self) -> None:
        """Link some fresh rows, once no others come, the oldest has waited or many wait."""
        await self._came.wait()
        fresh = self.shard.fresh
        left_s = min(self._came_at + _FRESH_S, self._first_came_at + _MOST_FRESH_S) - time.monotonic()
        if left_s > 0 and fresh.waiting < _LINK_FROM:
            await asyncio.sleep(left_s)
        elif fresh.waiting:
            await asyncio.to_thread(fresh.link, LINKED, paced=True)
        else:
            self._came.clear()

    async def _follow_popularity(self) -> None:
        await self._feed.follow(self.shard)

    async def _measure_drift(self) -> None:
        shard = self.shard
        generation = shard.items.generation
        if generation != self._measured:
            self.drift = await asyncio.to_thread(measure, shard)
            self._measured = generation


async def _load(manifest: Manifest, source: ShardSource) -> tuple[Shard, PopularityFeed]:
    """A shard with all that the log holds, warmed up, and the feed that its popularity came by."""
    shard = await asyncio.to_thread(open_shard, source.store, manifest.version, source.number)
    applier = LogApplier(source.number, manifest.layout, source.redis, source.encode)
    while await applier.catch_up(shard, manifest.fingerprint):
        continue
    await asyncio.to_thread(shard.fresh.link)
    # Checked after catching up: the log may have been trimmed meanwhile.
    await applier.check(manifest.version, shard.snapshot, manifest.created_at.timestamp())
    feed = PopularityFeed(source.redis, manifest.built_for.router.feeds(source.number))
    await feed.follow(shard)
    # The first search reads the memory map from the disk: nobody's request should wait for that.
    await asyncio.to_thread(_warm_up, shard)
    shard.planner.costs = await asyncio.to_thread(measured, shard)
    shard.index.hurry()
    log.info("shard-%d has loaded version %s with %d items", source.number, manifest.version, shard.items.live)
    return shard, feed


def _warm_up(shard: Shard) -> None:
    """Search as users do, for nobody."""
    rows = shard.items.live_rows()[:_WARM_UP]
    if len(rows):
        search(shard, nearest_query(shard.version, shard.items.vectors(rows), 10))
