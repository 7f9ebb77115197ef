"""What a shard's replica measures of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from recsys.candidates import CandidateSet, ShardQuery
from recsys.itemlog import Entry, ItemLog, after
from recsys.live_recall import LiveRecall
from recsys.load import LoadMeter
from recsys.pulse import BEAT_S, Pulse
from recsys.retrieval import search
from recsys.shard import Shard
from recsys.telemetry import Telemetry


class ShardWatch:
    """`shards`: the loaded ones by version, as they are at any time."""

    def __init__(self, number: int, shards: Mapping[str, Shard], log: ItemLog, telemetry: Telemetry) -> None:
        self._number = number
        self._shards = shards
        self._log = log
        self._telemetry = telemetry
        self._open: dict[object, float] = {}
        """Searches without an answer yet, in order of arrival, with their arrival."""
        self.meter = LoadMeter(self._oldest_s)
        self._pulse = Pulse(self.meter, telemetry)
        self._recall = LiveRecall()

    @contextmanager
    def asked(self, query: ShardQuery) -> Iterator[None]:
        """Around a search, from its arrival to its answer."""
        key, start = object(), time.monotonic()
        self._open[key] = start
        try:
            yield
        finally:
            del self._open[key]
            self._telemetry.observe("recsys_answer_seconds", time.monotonic() - start, queue="search")
        self._recall.offer(query)

    def search(self, shard: Shard, query: ShardQuery) -> CandidateSet:
        """The search itself, in whichever thread does it."""
        start = time.monotonic()
        found = search(shard, query)
        took_s = time.monotonic() - start
        self.meter.batch(took_s, 0.0)  # composers decide how large a batch is
        self._telemetry.observe("recsys_batch_requests", query.size, queue="search")
        self._telemetry.observe("recsys_batch_seconds", took_s, queue="search")
        return found

    def applied(self, entries: list[Entry]) -> None:
        """Entries of the log that can be found from now on. Their sequence is Redis' time in milliseconds."""
        lags = [time.time() - after(e.sequence)[0] / 1000 for e in entries if e.change is not None]
        for lag in (min(lags), max(lags)) if len(lags) > 1 else lags:  # of a burst, its two ends
            self._telemetry.observe("recsys_freshness_seconds", max(lag, 0.0))

    async def beat(self) -> None:
        """Once a second."""
        self._pulse.beat(self._shards)
        told = self._telemetry
        told.set("recsys_queue_requests", len(self._open), queue="search")
        for version, shard in list(self._shards.items()):
            told.set("recsys_items", shard.items.live, version=version)
        behind = [await self._lag_s(shard.cursor) for shard in list(self._shards.values())]
        told.set("recsys_log_lag_seconds", max(behind, default=0.0))
        told.set("recsys_log_entries", await self._log.length(self._number))

    async def measure_recall(self, share: float) -> None:
        """One search, answered again exactly; then a rest, so that it takes `share` of a core at the most."""
        spent_s = 0.0
        if share and self._shards:
            newest = list(self._shards.values())[-1]
            spent_s = await asyncio.to_thread(self._recall.measure, newest)
        if spent_s:
            self._telemetry.add("recsys_recall_queries_total")
        if self._recall.ratio is not None:
            self._telemetry.set("recsys_recall_ratio", self._recall.ratio)
        await asyncio.sleep(max(spent_s / share if share else 0.0, BEAT_S))

    async def _lag_s(self, cursor: str) -> float:
        """Seconds since the oldest entry behind the cursor was written; 0.0 when there is none."""
        waiting = await self._log.read(self._number, cursor, limit=1)
        return max(time.time() - after(waiting[0].sequence)[0] / 1000, 0.0) if waiting else 0.0

    def _oldest_s(self) -> float:
        arrived = next(iter(self._open.values()), None)
        return 0.0 if arrived is None else time.monotonic() - arrived
