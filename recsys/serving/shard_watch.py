"""What a shard's replica measures of itself: load, freshness, lag behind the log, and recall of what it serves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from recsys.serving.held_version import HeldVersion
from recsys.serving.load import LoadMeter
from recsys.serving.measures import BEAT_S, Pulse
from recsys.serving.search_pace import SearchPace
from recsys.shard.candidates import CandidateSet, Searched, ShardQuery
from recsys.shard.plans import named, shape
from recsys.shard.shard import Shard
from recsys.state.item_log import Entry, after
from recsys.telemetry import Changing, Telemetry


class ShardWatch:
    def __init__(self, versions: Mapping[str, HeldVersion], telemetry: Telemetry) -> None:
        """`versions`: those that are held, as they are at any time, the newest last."""
        self._versions = versions
        self._telemetry = telemetry
        self._open: dict[object, float] = {}
        """Searches without an answer yet, in order of arrival, with their arrival."""
        self.meter = LoadMeter(self._oldest_s)
        self.pace = SearchPace()
        self._pulse = Pulse(self.meter, telemetry)
        self._items = Changing(telemetry, "recsys_items")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a search that waits for a thread, from its arrival to its answer."""
        key, start = object(), time.monotonic()
        self._open[key] = start
        try:
            yield
        finally:
            del self._open[key]
            self._telemetry.observe("recsys_answer_seconds", time.monotonic() - start, queue="search")

    def search(self, shard: Shard, query: ShardQuery) -> tuple[CandidateSet, float]:
        """The search itself, in whichever thread does it, and the seconds that it took."""
        start = time.monotonic()
        candidates = self.pace.search(shard, query)
        return candidates, time.monotonic() - start

    def note(self, version: HeldVersion, query: ShardQuery, candidates: CandidateSet, took_s: float) -> None:
        """Measure a search that is done. Its answer need not wait for that."""
        self.meter.batch(took_s, 0.0)  # composers decide how large a batch is
        self._telemetry.observe("recsys_batch_requests", query.size, queue="search")
        self._telemetry.observe("recsys_batch_seconds", took_s, queue="search")
        if candidates.searched:
            self._count_plans(candidates.searched.values(), version.shard.items.live)
        version.recall.offer(query)
        version.filtered_recall.offer(query)

    def note_at_once(self, version: HeldVersion, query: ShardQuery, candidates: CandidateSet, took_s: float) -> None:
        """The same of one that waited for nothing."""
        self._telemetry.observe("recsys_answer_seconds", took_s, queue="search")
        self.note(version, query, candidates, took_s)

    def _count_plans(self, searched: Iterable[Searched], live: int) -> None:
        counted = Counter((plan, shape(s.matches, live)) for s in searched for plan in named(s.plans))
        for (plan, matching), requests in counted.items():
            self._telemetry.add("recsys_filtered_searches_total", requests, plan=plan, shape=matching)

    def applied(self, entries: Sequence[Entry]) -> None:
        """Measure how old entries of the log are that became visible. Their sequence is Redis' time in milliseconds."""
        lags = [time.time() - after(e.sequence)[0] / 1000 for e in entries if e.change is not None]
        for lag in (min(lags), max(lags)) if len(lags) > 1 else lags:  # of a burst, its two ends
            self._telemetry.observe("recsys_freshness_seconds", max(lag, 0.0))

    async def beat(self) -> None:
        """Publish the measurements; once a second."""
        self._pulse.beat(self._versions)
        telemetry = self._telemetry
        telemetry.set("recsys_queue_requests", len(self._open), queue="search")
        versions = list(self._versions.values())
        for version in versions:
            version.shard.told.expire()
            version.shard.likeness.expire()
            version.shard.promoted.expire()
        self._items.tell({(version.version,): version.shard.items.live for version in versions})
        telemetry.set("recsys_log_lag_seconds", max([await version.lag_s() for version in versions], default=0.0))
        telemetry.set("recsys_log_entries", max([await version.log_length() for version in versions], default=0))

    async def measure_recall(self, share: float) -> None:
        """Answer some searches again, exactly, and hold what they find over its floor; then rest, so that this takes
        `share` of a core at the most, and less where the floor is held anyhow.

        The newest version that was searched since the last measurement is measured.
        """
        spent_s, rest_s = 0.0, BEAT_S
        newest_first = list(self._versions.values())[::-1]
        for version in newest_first if share else ():
            measured = await asyncio.to_thread(version.measure_recall)
            spent_s = measured.spent_s
            if spent_s:
                rest_s = max(version.holding.rest_s, BEAT_S)
                self._telemetry.add("recsys_recall_queries_total", len(measured.samples))
                self._telemetry.add("recsys_recall_cpu_seconds_total", spent_s)
                break
        for version in newest_first:
            for action, times in version.holding.take_actions().items():
                self._telemetry.add("recsys_recall_changes_total", times, action=action)
        measured_version = next((v for v in newest_first if v.recall.ratio is not None), None)
        if measured_version is not None:
            self._tell_recall(measured_version)
        if share:
            spent_s += await self._measure_filtered(newest_first)
        await asyncio.sleep(max(spent_s / share if share else 0.0, rest_s))

    def _tell_recall(self, version: HeldVersion) -> None:
        telemetry, state = self._telemetry, version.holding.state()
        if (ratio := version.recall.ratio) is not None:
            telemetry.set("recsys_recall_ratio", ratio, shape="none")
        if state is None:
            return
        telemetry.set("recsys_search_effort", state.ef_search)
        telemetry.set("recsys_recall_lost", float(state.rebuild))
        if state.lower is not None:
            telemetry.set("recsys_recall_lower_ratio", state.lower)

    async def _measure_filtered(self, newest_first: Sequence[HeldVersion]) -> float:
        """Answer one search under a filter again, exactly. Return the CPU seconds that it took."""
        for version in newest_first:
            if spent_s := await asyncio.to_thread(version.filtered_recall.measure, version.shard):
                self._telemetry.add("recsys_recall_queries_total")
                self._telemetry.add("recsys_recall_cpu_seconds_total", spent_s)
                for kind, ratio in version.filtered_recall.ratios.items():
                    self._telemetry.set("recsys_recall_ratio", ratio, shape=kind)
                return spent_s
        return 0.0

    def _oldest_s(self) -> float:
        arrived = next(iter(self._open.values()), None)
        return 0.0 if arrived is None else time.monotonic() - arrived
