"""Rows that came and are not in the index yet: searches find them, and the index takes them when there is time."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Condition, Filter, Item
from recsys.index.base import engine
from recsys.shard.candidates import QUERY
from recsys.shard.item_table import ItemTable
from recsys.shard.probes import sample_queries
from recsys.shard.recall import recall
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from tests.support.small_shards import Asked, D, Walks, answers, make_shard
from tests.support.world import unit_rows

EVEN = Filter(must=(Condition("parity", "any", ("even",)),))
ALL = Filter(must=(Condition("parity", "exists"),))
LOCAL = ["flat", "hnsw", "hnsw_int8"]


def near(shard, vector, k=10, given=None):
    """Item ids, best first."""
    (got,) = answers(shard, [Asked([(QUERY, "similar", k, vector)], filter=given)])
    return sorted(got, key=lambda item_id: -got[item_id][1][QUERY])


def items_of(ids, parity="even"):
    return [Item(item_id, f"title of {item_id}", "", {"parity": parity, "hundreds": "x"}) for item_id in ids]


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("given", [None, EVEN, ALL])
def test_an_item_is_found_before_the_index_holds_it(name, given):
    """By every engine, with a filter and without, exactly once, with its exact likeness; and afterwards as before."""
    shard, rng = make_shard(600, name, exact_below=0), np.random.default_rng(1)
    shard.planner = Walks()
    centre = shard.items.vectors(np.array([17]))[0]
    vectors = unit_rows(centre + 0.1 * rng.standard_normal((30, D)))
    ids, held = [f"new{n}" for n in range(30)], len(shard.index)
    shard.upsert(items_of(ids), vectors)
    assert (len(shard.index), shard.fresh.waiting) == (held, 30)
    before = near(shard, vectors[0], 20, given)
    best = np.argsort(-(vectors @ vectors[0]), kind="stable")
    assert before[0] == "new0"
    assert [one for one in before if one in ids] == [ids[n] for n in best[: sum(one in ids for one in before)]]
    shard.fresh.link(10)
    assert shard.fresh.waiting == 20
    assert near(shard, vectors[0], 20, given)[:10] == before[:10]  # bytes may swap the last ones
    shard.fresh.link()
    assert (len(shard.index), shard.fresh.waiting) == (held + 30, 0)
    assert near(shard, vectors[0], 20, given)[:10] == before[:10]


@pytest.mark.parametrize("name", LOCAL)
def test_a_fresh_item_that_changes_or_goes_is_found_as_it_is_now(name):
    """An item that is written twice has its last vector, and one that is deleted is not found, linked or not."""
    shard = make_shard(600, name, exact_below=0)
    first, second = unit_rows(np.random.default_rng(2).standard_normal((2, D)))
    shard.upsert(items_of(["a", "b"]), np.stack([first, first]))
    shard.upsert(items_of(["a"]), second[None])
    shard.delete(["b"])
    for link in (0, 1, None):
        shard.fresh.link(link)
        assert near(shard, second)[0] == "a"
        assert not {"a", "b"} & set(near(shard, first, 1))


@pytest.mark.parametrize("name", LOCAL)
def test_many_items_that_are_rewritten_before_the_index_takes_their_rows_are_searched_well(name):
    """Half of the items have new vectors: walks pass their old rows, and give as many as are asked for."""
    shard, rng = make_shard(600, name, exact_below=0), np.random.default_rng(3)
    ids = [f"i{n}" for n in range(0, 600, 2) if n % 13]
    shard.upsert(items_of(ids), unit_rows(rng.standard_normal((len(ids), D))))
    queries = sample_queries(shard.items.vectors(shard.items.live_rows()), 30)
    assert recall([shard], queries) >= 0.95
    assert all(len(near(shard, query, 20)) == 20 for query in queries)
    shard.fresh.link()
    assert recall([shard], queries) >= 0.95


def test_in_the_pauses_of_linking_nothing_holds_the_index(monkeypatch):
    """They come between a few rows."""
    shard, pauses = make_shard(600), []
    shard.upsert(items_of([f"new{n}" for n in range(40)]), unit_rows(np.random.default_rng(6).standard_normal((40, D))))
    add, linking = shard.index.add, []

    def noted(*row):
        linking.append(shard.fresh.linking)
        add(*row)

    monkeypatch.setattr(shard.index, "add", noted)
    monkeypatch.setattr("time.sleep", lambda _: pauses.append(shard.fresh.linking))
    shard.fresh.link(paced=True)
    assert len(linking) == 40
    assert all(linking)
    assert len(pauses) >= 10
    assert not any(pauses)
    assert not shard.fresh.linking


def test_a_walk_with_an_allow_list_gives_fresh_matches_behind_others():
    """Matches count though many fresh rows that do not match are nearer."""
    shard = make_shard(600, "hnsw_int8", exact_below=0)
    shard.planner = Walks()
    centre = shard.items.vectors(np.array([17]))[0]
    noise = np.random.default_rng(4).standard_normal((200, D))
    shard.upsert(items_of([f"odd{n}" for n in range(200)], "odd"), unit_rows(centre + 0.01 * noise))
    shard.upsert(items_of(["even"]), unit_rows(centre + 0.05 * noise[:1]))
    assert near(shard, centre, 10, EVEN)[0] == "even"


def test_equal_fresh_items_do_not_fill_an_answer():
    """Beside them an answer holds as many items that differ."""
    shard = make_shard(600, exact_below=0)
    vector = shard.items.vectors(np.array([17]))[0]
    shard.upsert([Item(f"copy{n}", "the same", "") for n in range(30)], np.tile(vector, (30, 1)))
    assert sum(not one.startswith("copy") for one in near(shard, vector, 10)) >= 9


def test_the_first_items_of_an_empty_shard_are_found_before_its_index_is_made():
    """As many as there are."""
    vectors, spec = unit_rows(np.random.default_rng(5).standard_normal((40, D))), IndexSpec.of("hnsw")
    table = ItemTable({"parity": "keyword", "hundreds": "keyword"}, D, Sketcher.fit(vectors))
    shard = Shard("v", table, engine(spec).create(spec, D))
    shard.tune(ShardTuning())
    shard.upsert(items_of([f"new{n}" for n in range(40)]), vectors)
    assert near(shard, vectors[7], 5)[0] == "new7"
    shard.fresh.link()
    assert near(shard, vectors[7], 5)[0] == "new7"
    assert len(shard.index) == 40
