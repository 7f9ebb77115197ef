"""What the platform says of itself is what was done to it: a real gateway and shards, a real Redis."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable
from typing import Any

from msgspec import structs

from recsys.config.serving import Serving
from recsys.datatypes import Condition, Filter, Item, RecQuery
from recsys.errors import Overloaded
from recsys.serving.measures import Recording
from recsys.telemetry import METRICS, zeros
from recsys.transport.coalescing import Caller, Coalescer, Flight
from recsys.transport.direct_shard import DirectShard
from tests.support.world import World, event, eventually

OPEN = {"code", "part", "shard", "task"}
"""Labels of counters with values that are not all known beforehand."""


class Ledger:
    """Telemetry kept in memory; refuses what METRICS does not declare."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], float] = {}
        self.observed: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        for label, value in labels.items():
            assert label in OPEN or value in METRICS[name].values[label], f"{name} would not begin at 0 with {value}"
        self.counted[self._key("counter", name, labels)] += amount

    def set(self, name: str, value: float, **labels: str) -> None:
        self.gauges[self._key("gauge", name, labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        self.observed[self._key("histogram", name, labels)].append(value)

    def flush(self) -> None:
        pass

    @staticmethod
    def _key(kind: str, name: str, labels: dict[str, str]) -> tuple[str, ...]:
        assert METRICS[name].kind == kind
        assert tuple(labels) == METRICS[name].labels
        return (name, *labels.values())


def test_names_and_units_follow_prometheus():
    for name, metric in METRICS.items():
        assert re.fullmatch(r"recsys_[a-z_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert bool(metric.buckets) == (metric.kind == "histogram"), name
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help[0].isupper() or metric.help[0].isdigit() or metric.help.startswith("recall@10")
        assert not name.endswith(("_ms", "_mb", "_percent", "_count", "_sum", "_bucket"))


def test_every_counter_begins_at_zero():
    """In the kind of replica that counts it, with every value that its labels are known to have; two are begun by the
    loops and the channels that they count.
    """
    begun = {role: list(zeros(role)) for role in ("composer", "shard", "encoder")}
    names = [{name for name, _ in series} for series in begun.values()]
    counters = {name for name, metric in METRICS.items() if metric.kind == "counter"}
    by_their_owners = {"recsys_background_errors_total", "recsys_channel_refused_total"}
    assert set.union(*names) == counters - by_their_owners
    assert sum(map(len, names)) == len(counters - by_their_owners)
    assert ("recsys_stopped_variants_total", {"reason": "worse"}) in begun["composer"]
    assert len([name for name, _ in begun["shard"] if name == "recsys_filtered_searches_total"]) == 9
    for name, labels in (one for series in begun.values() for one in series):
        assert tuple(labels) == METRICS[name].labels


async def test_counters_of_loops_channels_and_shards_begin_at_zero(make_world):
    """They are there before anything fails."""
    ledger = Ledger()
    world: World = await make_world(telemetry=ledger, shards=2)
    world.gateway.beat()
    zero = {key for key, count in ledger.counted.items() if count == 0}
    assert {("recsys_degraded_slates_total", f"shard-{number}") for number in (0, 1)} <= zero
    assert {("recsys_background_errors_total", task) for task in ("follow", "presence", "recall")} <= zero
    DirectShard(1, tuple, b"", world.clients[1], ledger)
    assert ledger.counted["recsys_channel_refused_total", "1"] == 0
    assert ("recsys_channel_refused_total", "1") in ledger.counted


async def test_what_a_version_held_is_not_told_of_after_it_is_dropped(make_world, hurried):
    """Else its items would count beside those of the version that is served."""
    ledger = Ledger()
    world: World = await make_world(telemetry=ledger, shards=1)
    old = world.store.current()
    assert await eventually(lambda: ledger.gauges.get(("recsys_items", old)) == 48)
    world.store.promote(new := world.publish(world.items[:40]).version)
    assert await eventually(lambda: ledger.gauges.get(("recsys_items", new)) == 40)
    assert await eventually(lambda: ledger.gauges["recsys_items", old] == 0)
    assert await eventually(lambda: ledger.gauges["recsys_version_info", old] == 0)


async def test_a_coalescer_tells_of_each_batch(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    gate, landed = asyncio.Event(), []

    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def double(batch: list[int]) -> list[int | Exception]:
        await gate.wait()
        if 13 in batch:
            raise ZeroDivisionError
        return [2 * x for x in batch]

    coalescer: Coalescer[int, int] = Coalescer(double, max_batch=4, max_in_flight=1, landed=landed.append)
    assert coalescer.oldest_s == 0.0
    first = asyncio.create_task(coalescer.submit(1))
    await settle()
    now[0] += 1.0
    late = [asyncio.create_task(coalescer.submit(x)) for x in (2, 13)]
    await settle()
    now[0] += 5.0
    assert coalescer.oldest_s == 5.0
    gate.set()
    assert await first == 2
    assert [type(e) for e in await asyncio.gather(*late, return_exceptions=True)] == [ZeroDivisionError] * 2
    await asyncio.sleep(0)
    one, two = landed
    assert isinstance(one, Flight)
    assert (one.requests, two.requests) == (1, 2)
    assert (one.waited_s, one.took_s) == (0.0, 6.0)
    assert (two.waited_s, two.took_s) == (5.0, 0.0)  # a batch that fails is told as well


async def test_a_composers_batches_and_profiles_are_counted(make_world):
    ledger = Ledger()
    world: World = await make_world(telemetry=ledger)
    await world.gateway.record([event("anna", "sea-0"), event("anna", "sea-1")])
    again = event("anna", "sea-2")
    await world.gateway.record([again])
    await world.gateway.record([again])
    await asyncio.gather(*(world.gateway.recommend(RecQuery(k=3, user_id=u)) for u in ("anna", "ben", "anna")))
    counted = ledger.counted
    assert counted["recsys_events_total", "accepted"] == 3
    assert counted["recsys_events_total", "duplicate"] == 1
    assert counted["recsys_slates_total",] == 3
    assert ledger.observed["recsys_batch_requests", "recommend"] == [2, 1]
    assert counted["recsys_profiles_total", "hit"] == 2
    assert counted["recsys_profiles_total", "new"] == 1
    stages = {key[1]: values for key, values in ledger.observed.items() if key[0] == "recsys_stage_seconds"}
    assert set(stages) == {"profiles", "candidates", "ranking"}
    took, answers = (ledger.observed[f"recsys_{what}_seconds", "recommend"] for what in ("batch", "answer"))
    assert 0 < sum(map(sum, stages.values())) <= sum(took)
    assert all(answer >= batch for answer, batch in zip(answers, took, strict=True))
    world.gateway.beat()
    assert ledger.gauges["recsys_busy_ratio",] > 0
    assert ledger.gauges["recsys_memory_bytes",] > 10 << 20
    assert ledger.gauges["recsys_version_info", world.store.current()] == 1.0


async def test_a_slate_without_a_shard_counts_as_degraded_by_that_shard(make_world):
    ledger = Ledger()
    world: World = await make_world(telemetry=ledger, shards=2)
    world.clients[1].error = OSError("gone")
    slate = await world.gateway.recommend(RecQuery(k=3))
    assert slate.degraded == ("shard-1",)
    assert ledger.counted["recsys_degraded_slates_total", "shard-1"] == 1
    assert ledger.counted["recsys_slates_total",] == 1
    world.clients[0].error = OSError("gone")
    await asyncio.gather(world.gateway.recommend(RecQuery(k=3)), return_exceptions=True)
    assert ledger.counted["recsys_refused_total", "unavailable"] == 1
    assert ledger.counted["recsys_slates_total",] == 1


async def test_a_shard_measures_freshness_recall_and_its_log(make_world):
    ledger = Ledger()
    world: World = await make_world(telemetry=ledger, shards=1)
    await world.gateway.items.upsert([Item("new", "sea wave", "harbour")], wait_visible=True)
    assert await eventually(lambda: ledger.observed["recsys_freshness_seconds",])
    assert 0 <= max(ledger.observed["recsys_freshness_seconds",]) < 30
    await world.gateway.record([event("anna", "sea-0")])

    async def asked_and_measured() -> Any:
        await world.gateway.recommend(RecQuery(k=3, user_id="anna"))
        return ledger.counted["recsys_recall_queries_total",]

    assert await eventually(asked_and_measured)
    assert await eventually(lambda: ledger.gauges.get(("recsys_recall_ratio", "none")) is not None)
    assert 0.5 < ledger.gauges["recsys_recall_ratio", "none"] <= 1.0
    assert await eventually(lambda: ledger.gauges.get(("recsys_log_entries",)) == 1)
    assert ledger.gauges["recsys_log_lag_seconds",] == 0.0
    assert ledger.gauges["recsys_items", world.store.current()] == 49
    assert ledger.observed["recsys_batch_requests", "search"]


async def test_a_shard_counts_how_filters_are_searched(make_world):
    ledger = Ledger()
    world: World = await make_world(telemetry=ledger, shards=1)
    given = Filter(must=(Condition("topic", "any", ("sea",)),))
    asked = RecQuery(k=3, scenario="similar", like_item="sea-1")
    await asyncio.gather(*(world.gateway.recommend(structs.replace(asked, filter=f)) for f in (given, given, None)))
    assert ledger.counted["recsys_filtered_searches_total", "exact", "wide"] == 2
    assert await eventually(lambda: ledger.gauges.get(("recsys_recall_ratio", "wide")) == 1.0)


async def test_what_is_refused_for_want_of_room_is_counted(make_world):
    """Whoever had no place: a slate, a call of events, a read of an item, a delete; and who waited for too long."""
    ledger = Ledger()
    serving = Serving(budget_s=20, max_waiting=1, flights=1, max_batch=1)
    world: World = await make_world(telemetry=ledger, serving=serving, shards=1)
    gateway, world.clients[0].delay_s = world.gateway, 0.01  # so that no call ends before the next one begins

    async def refused(*calls: Awaitable[Any]) -> float:
        before = ledger.counted["recsys_refused_total", "overloaded"]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 1, answers
        gateway.beat()
        return ledger.counted["recsys_refused_total", "overloaded"] - before

    for ask in (
        lambda _: gateway.recommend(RecQuery(k=1)),
        lambda n: gateway.record([event(f"u{n}", "sea-1")]),
        lambda _: gateway.items.item("sea-1"),
        lambda n: gateway.items.delete(f"sea-{n}", wait_visible=False),
    ):
        assert await refused(ask(0), ask(1)) == 1
    late = gateway.recommend(RecQuery(k=1), Caller(time.monotonic() - 30))
    assert await refused(late) == 1
    assert ledger.counted["recsys_given_up_total", "late"] == 1


def test_the_codes_of_refusals_are_those_of_the_api():
    ledger = Ledger()
    Recording(ledger).slates([ValueError("a defect")])
    assert ledger.counted["recsys_refused_total", "internal"] == 1
