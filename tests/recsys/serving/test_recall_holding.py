"""A shard holds its recall floor: it searches harder, asks for a rebuild, scores every item, and says what it did."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from recsys.config.scenarios import Scenario
from recsys.config.serving import Serving
from recsys.config.tuning import RecallTarget, ShardTuning
from recsys.config.unattended import Rebuild
from recsys.datatypes import Floats, RecQuery, Rows
from recsys.jobs.schedule import rebuild_due
from recsys.serving.recall_holding import RecallHolding
from recsys.shard.live_recall import LiveRecall
from recsys.shard.probes import nearest_query
from recsys.shard.recall import Exact
from recsys.shard.shard import Shard
from tests.support.small_shards import make_shard, standing_shard
from tests.support.world import World, catalogue, event, eventually, unit_rows

pytestmark = pytest.mark.usefixtures("seeded")


class Forgetful:
    """An index whose walks find only every other row until `ef_search` is `needed`."""

    def __init__(self, shard: Shard, needed: int) -> None:
        self._index, self._needed, self._effort = shard.index, needed, shard.tuning.ef_search
        self.mixed = False

    def __len__(self) -> int:
        return len(self._index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def tune(self, tuning: ShardTuning) -> None:
        self._effort = tuning.ef_search
        self._index.tune(tuning)

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        if self._effort >= self._needed:
            return self._index.search(queries, k)
        rows, scores = self._index.search(queries, 2 * k)
        return rows[:, ::2], scores[:, ::2]


def holding(shard: Shard, **tuning: Any) -> RecallHolding:
    one = RecallHolding("shard-0, version v", exact=False)
    one.tune(shard, ShardTuning(**tuning))
    return one


def search_and_hold(shard: Shard, held: RecallHolding, rounds: int, k: int = 10) -> None:
    """Searches for random vectors, of which some are measured in each round; four seconds pass between two."""
    rng, live = np.random.default_rng(1), LiveRecall()
    for i in range(rounds):
        live.offer(nearest_query("v", unit_rows(rng.standard_normal((32, 16))), k))
        held.observe(shard, live.measure(shard), 4.0 * i)


def recall_of(shard: Shard) -> float:
    queries = unit_rows(np.random.default_rng(9).standard_normal((300, 16)))
    return Exact.of([shard], queries, asked=np.full(300, 10)).recall()


def test_a_real_graph_is_brought_over_the_floor_and_not_far_over_it(caplog):
    caplog.set_level(logging.INFO)
    shard = standing_shard(6000, ef_search=10)
    assert recall_of(shard) < 0.93
    held = holding(shard, ef_search=10, recall=RecallTarget(min_ef=4))
    search_and_hold(shard, held, 40)
    assert recall_of(shard) >= 0.94
    assert shard.tuning.ef_search == held.state().ef_search < 100
    assert held.take_actions()["raise"] >= 1
    assert held.take_actions() == {}
    assert "ef_search 10 -> " in caplog.text
    assert "under 0.95" in caplog.text


def test_an_effort_that_is_far_too_large_comes_down():
    shard = standing_shard(6000, ef_search=500)
    held = holding(shard, ef_search=500, recall=RecallTarget(min_ef=4))
    search_and_hold(shard, held, 60)
    assert held.state().ef_search < 100
    assert recall_of(shard) >= 0.94
    assert held.take_actions().keys() >= {"lower"}


def test_new_settings_keep_what_was_reached_unless_they_say_something_about_it():
    shard = standing_shard(6000, ef_search=10)
    held = holding(shard, ef_search=10)
    search_and_hold(shard, held, 10)
    reached = held.state().ef_search
    assert reached > 10
    held.tune(shard, ShardTuning(ef_search=10, threads=2))
    assert shard.tuning.threads == 2
    assert (shard.tuning.ef_search, held.state().ef_search) == (reached, reached)
    held.tune(shard, ShardTuning(ef_search=20))
    assert (shard.tuning.ef_search, held.state().ef_search) == (20, 20)
    held.tune(shard, ShardTuning(ef_search=20, recall=None))
    search_and_hold(shard, held, 5)
    assert held.state() is None
    assert shard.tuning.ef_search == 20


def test_without_sampling_or_with_an_exact_engine_nothing_is_held():
    assert holding(make_shard(100), recall_share=0.0).state() is None
    exact = RecallHolding("shard-0, version v", exact=True)
    exact.tune(make_shard(100, "flat"), ShardTuning())
    assert exact.state() is None


def test_a_version_is_not_served_with_less_than_it_was_built_for_unless_min_ef_says_so():
    shard = make_shard(3000)
    shard.least_ef_search = 200
    held = holding(shard, ef_search=64)
    assert held.state().ef_search == 200
    search_and_hold(shard, held, 30)
    assert shard.tuning.ef_search == 200
    held.tune(shard, ShardTuning(ef_search=64, recall=RecallTarget(min_ef=8)))
    search_and_hold(shard, held, 30)
    assert shard.tuning.ef_search < 200


def test_where_no_effort_is_enough_every_item_is_scored(caplog):
    """A small shard; a large one goes on with what it finds, and both ask for a rebuild."""
    shard = make_shard(3000)
    walks = shard.index
    for exact_items, exact in ((100, False), (20_000, True)):
        shard.index = walks
        shard.tune(ShardTuning(ef_search=64))
        shard.index = Forgetful(shard, needed=100_000)
        held = holding(shard, ef_search=64, recall=RecallTarget(max_ef=256, exact_items=exact_items))
        search_and_hold(shard, held, 12)
        state = held.state()
        assert (state.exact, state.rebuild, state.ef_search) == (exact, True, 256)
        assert (recall_of(shard) == 1.0) == exact
    assert "every item is scored, and a rebuild is asked for" in caplog.text
    assert "the recall floor is lost, and a rebuild is asked for" in caplog.text


async def test_a_replica_that_cannot_hold_its_floor_says_so_and_a_rebuild_is_due(make_http):
    """From the searches of users to the status page and the schedule; a version built anew starts afresh."""
    client = await make_http(items=catalogue(150))
    world: World = client.world
    replica = world.clients[0].replicas[0]
    [version] = replica.versions.values()
    version.shard.index = Forgetful(version.shard, needed=100_000)
    replica.tune(ShardTuning(recall=RecallTarget(max_ef=64), recall_share=0.5))
    await world.gateway.record([event("anna", "sea-0"), event("ben", "forest-1"), event("cleo", "space-2")])

    async def exact() -> bool:
        asking = (RecQuery(k=3, user_id=user) for user in ("anna", "ben", "cleo") for _ in range(8))
        await asyncio.gather(*(world.gateway.recommend(query) for query in asking))
        return version.shard.exact

    assert await eventually(exact)
    assert await eventually(world.follower.rebuilds_asked_for)
    [wish] = world.follower.rebuilds_asked_for()
    assert wish.startswith("recall of shard-0: recall@10 of the newest ")
    assert rebuild_due(Rebuild(cron=None), 5000.0, 0.0, [], [wish]) == wish
    assert rebuild_due(Rebuild(cron=None), 3000.0, 0.0, [], [wish]) is None
    assert rebuild_due(Rebuild(cron=None, recall_lost=False), 5000.0, 0.0, [], [wish]) is None
    status = (await client.get("/v1/status")).json()
    assert status["degraded"] == ["recall of shard-0"]
    [shard] = status["shards"]
    [said] = shard["replicas"]
    assert said["recall"]["exact"]
    assert said["recall"]["rebuild"]
    assert said["recall"]["floor"] == 0.95
    assert said["recall"]["ef_search"] == 64
    assert said["recall"]["why"] in wish
    world.store.promote(world.publish().version)
    assert await eventually(lambda: world.follower.rebuilds_asked_for() == [])


async def test_a_scenario_may_ask_for_a_higher_floor(make_world):
    scenarios = {**Serving().scenarios, "home": Scenario(recall_floor=0.99)}
    world: World = await make_world(items=catalogue(150), shards=1, serving=Serving(scenarios=scenarios, budget_s=20))
    [version] = world.clients[0].replicas[0].versions.values()
    await world.gateway.record([event("anna", "sea-0")])

    async def floor() -> bool:
        await world.gateway.recommend(RecQuery(k=3, user_id="anna"))
        state = version.holding.state()
        return state.searches > 0 and state.floor == 0.99

    assert await eventually(floor)
