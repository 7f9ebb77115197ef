"""What the platform says of itself is what was done to it: a real gateway and shards, a real Redis."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from typing import Any

from msgspec import structs

from recsys.datatypes import Condition, Filter, Item, RecQuery
from recsys.serving.measures import Recording
from recsys.telemetry import METRICS
from recsys.transport.coalescing import Coalescer, Flight
from tests.support.world import World, event, eventually


class Ledger:
    """Telemetry kept in memory; refuses what METRICS does not declare."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], float] = {}
        self.observed: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
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


async def test_a_coalescer_tells_of_each_batch():
    gate, landed = asyncio.Event(), []

    async def double(batch: list[int]) -> list[int | Exception]:
        await gate.wait()
        if 13 in batch:
            raise ZeroDivisionError
        return [2 * x for x in batch]

    coalescer: Coalescer[int, int] = Coalescer(double, max_batch=4, max_in_flight=1, landed=landed.append)
    assert coalescer.oldest_s == 0.0
    first = asyncio.create_task(coalescer.submit(1))
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(coalescer.submit(x)) for x in (2, 13)]
    await asyncio.sleep(0.05)
    assert coalescer.oldest_s > 0.04
    gate.set()
    assert await first == 2
    assert [type(e) for e in await asyncio.gather(*late, return_exceptions=True)] == [ZeroDivisionError] * 2
    await asyncio.sleep(0)
    one, two = landed
    assert isinstance(one, Flight)
    assert (one.requests, two.requests) == (1, 2)
    assert one.took_s > 0.05 > one.waited_s
    assert two.waited_s > 0.04 > two.took_s  # a batch that fails is told as well


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
    await world.gateway.upsert([Item("new", "sea wave", "harbour")], wait_visible=True)
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


async def test_the_codes_of_refusals_are_those_of_the_api():
    ledger = Ledger()

    async def batch() -> list[Any]:
        return [ValueError("a defect")]

    await Recording(ledger).slates(batch())
    assert ledger.counted["recsys_refused_total", "internal"] == 1
