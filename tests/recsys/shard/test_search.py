"""What a shard answers to a batch, against a plain reading of the request."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.index.base import engine
from recsys.shard.candidates import BECAUSE, QUERY, TASTE
from recsys.shard.exact import exact as nearest_of
from recsys.shard.item_table import ItemTable
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.sources import BITS, COLUMNS
from recsys.state.item_counts import Counts
from tests.support.plain_search import ALL, EVEN, FILTERS, check, random_batch, requests
from tests.support.small_shards import Asked, D, Walks, answers, make_shard, query_of
from tests.support.world import unit_rows


@cache
def flat(n: int) -> Shard:
    return make_shard(n, "flat")


@settings(max_examples=60)
@given(st.data(), st.sampled_from((0, 1, 30)))
def test_a_small_shard_answers_exactly(data, n):
    """Never an excluded, deleted or unmatching item; all that are left up to k; bits and likeness right."""
    batch = data.draw(st.lists(requests(n), min_size=1, max_size=4))
    check(flat(n), batch, exact=True)


@pytest.fixture(scope="module")
def large() -> Shard:
    # 3,000 items with exact answers only for filters that leave under 50: walks, widening and scoring all happen.
    shard = make_shard(3000, exact_below=50, ef_search=200)
    shard.planner = Walks()
    return shard


@pytest.mark.parametrize("seed", range(3))
def test_a_large_shard_gives_all_that_was_asked_for(large, seed):
    """With walks over the graph: never less than k where k are left, and 95 % of the truly nearest."""
    check(large, random_batch(np.random.default_rng(seed), 6, large), exact=False)


def test_a_batch_is_the_sum_of_its_requests(large):
    """Requests that travel together are answered as each of them would be alone."""
    batch = random_batch(np.random.default_rng(9), 12, large)
    # A walk for the group may look wider than one for a request alone, so the exact parts are compared one by one.
    together, alone = answers(large, batch), [answers(large, [a])[0] for a in batch]
    for a, one, other in zip(batch, together, alone, strict=True):
        columns = sum(BITS[c] for c in COLUMNS) | BITS["asked"]
        assert {i for i, (b, _) in one.items() if b & columns} == {i for i, (b, _) in other.items() if b & columns}
        near = [{i for i, (b, _) in x.items() if b & BITS["similar"]} for x in (one, other)]
        assert len(near[0]) == len(near[1])
        assert len(near[0] & near[1]) >= 0.95 * len(near[0])
        assert a.vectors
    small = flat(30)
    batch = random_batch(np.random.default_rng(4), 12, small)
    for one, other in zip(answers(small, batch), [answers(small, [a])[0] for a in batch], strict=True):
        assert one.keys() == other.keys()
        for item_id, (bits, likeness) in one.items():
            assert other[item_id][0] == bits
            np.testing.assert_allclose(other[item_id][1], likeness, atol=1e-6)


@pytest.mark.parametrize("roles", [(TASTE,), (QUERY, TASTE), (TASTE, TASTE, BECAUSE)])
def test_requests_that_are_alike_are_multiplied_as_each_is_alone(roles):
    """To the last bit, in one product or beside a request of another kind."""
    shard, rng = make_shard(400, "hnsw_int8"), np.random.default_rng(6)

    def asked(roles: tuple[int, ...]) -> Asked:
        first, *others = unit_rows(rng.standard_normal((len(roles), D)))
        return Asked(
            [
                (roles[0], "similar", 20, first),
                *((role, None, 0, one) for role, one in zip(roles[1:], others, strict=True)),
            ]
        )

    alike = [asked(roles) for _ in range(9)]
    together, alone = answers(shard, alike), [answers(shard, [one])[0] for one in alike]
    mixed = answers(shard, [*alike, asked((QUERY,)), Asked(columns={"popular": 3})])
    for one, other, third in zip(together, alone, mixed, strict=False):
        assert len(one) == 20
        for item_id, (bits, likeness) in one.items():
            assert other[item_id][0] == third[item_id][0] == bits
            np.testing.assert_array_equal(other[item_id][1], likeness)
            np.testing.assert_array_equal(third[item_id][1], likeness)


@pytest.mark.parametrize("name", ["flat", "hnsw", "hnsw_int8"])
def test_a_user_who_has_seen_almost_everything_gets_the_rest(name):
    """1,000 items, all but four excluded: those four come, from every source, whatever the filter leaves of them."""
    shard = make_shard(1000, name, exact_below=10)
    shard.planner = Walks()
    left = ["i1", "i2", "i707", "i708"]
    seen = [f"i{i}" for i in range(1000) if f"i{i}" not in left]
    vector = unit_rows(np.ones((1, D)))[0]
    asked = [Asked([(QUERY, "similar", 10, vector)], {"popular": 10}, f, seen) for f in FILTERS]
    got = [set(line) for line in answers(shard, asked)]
    assert got == [set(left), {"i2", "i708"}, {"i707", "i708"}, set(), set(left)]


@pytest.mark.parametrize("block", [1 << 16, 700])
def test_exact_scoring_in_blocks(block):
    """More matches than one block holds are scored in several, and the best of all of them are kept."""
    shard = make_shard(3000, "flat", exact_below=100_000)
    vector = unit_rows(np.ones((1, D)))
    rows = shard.items.live_rows()
    best = np.sort(shard.items.vectors(rows) @ vector[0])[-20:]
    found, scores = nearest_of(shard.items, vector, rows, 20, block)
    assert len(set(found[0].tolist())) == 20
    np.testing.assert_allclose(scores[0], best[::-1], atol=1e-6)
    np.testing.assert_allclose(shard.items.vectors(found[0]) @ vector[0], scores[0], atol=1e-6)
    (got,) = answers(shard, [Asked([(QUERY, "similar", 20, vector[0])], filter=ALL)])
    # Items of equal vectors are as good as each other.
    np.testing.assert_allclose(sorted(x[1][QUERY] for x in got.values()), best, atol=1e-6)


def test_sketches_only_when_asked_for():
    """They are what makes an answer large."""
    asked = [Asked(columns={"popular": 3})]
    assert search(flat(30), query_of(asked)).sketches.shape == (3, D)
    assert search(flat(30), query_of(asked, sketches=False)).sketches.shape == (3, 0)


@pytest.mark.parametrize("filtered", [None, EVEN])
def test_a_tombstone_counts_before_the_index_has_it(filtered):
    """Between the two steps of a delete the item is gone from every answer already."""
    shard = make_shard(500, exact_below=0)
    shard.planner = Walks()
    row = shard.items.row("i2")
    vector = shard.items.vectors(np.array([row]))[0]
    asked = [Asked([(QUERY, "similar", 3, vector)], {"popular": 500}, filtered)]
    assert "i2" in answers(shard, asked)[0]
    shard.items.delete(["i2"])
    assert "i2" not in answers(shard, asked)[0]


@pytest.mark.parametrize("name", ["hnsw", "hnsw_int8"])
def test_an_item_that_was_deleted_or_moved_costs_no_look_at_all_items(name):
    """Its row stays in the graph until the next sweep. A search that meets such rows looks a little further."""
    shard = make_shard(1200, name)
    for i in range(1200):
        if i % 13 == 0 or i % 11 == 0:
            [got] = answers(shard, [Asked([(QUERY, "similar", 20, shard.items.vectors(np.array([i]))[0])])])
            assert len(got) == 20
    assert shard.lists.bytes == 0  # there is no list of all rows


def test_a_match_that_goes_meanwhile_opens_no_door():
    """All but one item match, and one of those goes just after the matches were counted: the one stays out."""
    shard = make_shard(500, exact_below=0)
    shard.planner = Walks()
    other = "i3"
    shard.upsert([Item(other, attributes={"hundreds": "0"})], shard.items.vectors(shard.items.rows([other])))
    counted, listed = shard.lists.count(ALL), shard.lists.mask(ALL)
    assert counted == shard.items.live - 1
    shard.delete(["i5"])
    shard.lists.count, shard.lists.mask = lambda _: counted, lambda _: listed
    vector = shard.items.vectors(shard.items.rows([other]))[0]
    (got,) = answers(shard, [Asked([(QUERY, "similar", 5, vector)], filter=ALL)])
    assert len(got) == 5
    assert not {other, "i5"} & got.keys()


def test_searches_beside_a_writer_hold_their_promises():
    """While items come, move and go: no error, no item twice, never one whose deletion was over, always k of them."""
    shard = make_shard(500)
    rng = np.random.default_rng(0)
    ended, gone, failures = threading.Event(), [], []

    def read() -> None:
        seed = np.random.default_rng(threading.get_ident() % 1000)
        try:
            while not ended.is_set():
                buried = set(gone)
                vector = unit_rows(seed.standard_normal((1, D)))[0]
                batch = [
                    Asked([(QUERY, "similar", 20, vector)], {"popular": 20, "recent": 5}, f, ["i1", "i2"])
                    for f in (None, EVEN, ALL)
                ]
                for asked, got in zip(batch, answers(shard, batch, merged=True), strict=True):
                    assert not buried & got.keys()
                    assert not {"i1", "i2"} & got.keys()
                    assert len(got) >= 20
                    if asked.filter is EVEN:
                        assert all(int(i[1:]) % 2 == 0 for i in got)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)] + [threading.Thread(target=_link, args=(shard, ended))]
    for reader in readers:
        reader.start()
    try:
        for n in range(500, 700):
            item = Item(f"i{n}", "", "", {"parity": ("even", "odd")[n % 2], "hundreds": "x"}, float(n))
            moved = Item(f"i{n - 300}", "", "", {"parity": ("even", "odd")[n % 2], "hundreds": "y"}, float(n))
            shard.upsert([item, moved], unit_rows(rng.standard_normal((2, D))))
            shard.delete([f"i{n - 400}"])
            gone.append(f"i{n - 400}")
            shard.count(Counts([f"i{n}"], [float(n)], [float(n)]))
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert failures == []
    shard.fresh.link()
    assert len(shard.index) >= shard.items.live


def _link(shard: Shard, ended: threading.Event) -> None:
    while not ended.is_set():
        shard.fresh.link(5, paced=True)


def test_two_items_that_share_a_key_are_both_found(monkeypatch):
    """Of 24 million items one pair is expected to share 48 bits: each is a candidate of its own, with its sources."""
    monkeypatch.setattr("recsys.shard.item_table.item_keys", lambda ids: np.full(len(list(ids)), 5, np.uint64))
    vectors = unit_rows(np.random.default_rng(0).standard_normal((3, D)))
    shard = Shard("v", ItemTable({}, D, Sketcher.fit(vectors)), engine(IndexSpec.of()).create(IndexSpec.of(), D))
    shard.tune(ShardTuning())
    shard.upsert([Item(f"i{n}", f"t{n}", "", {}, float(n)) for n in range(3)], vectors)
    (got,) = answers(shard, [Asked([(QUERY, "similar", 3, vectors[1])], {"recent": 1})])
    assert set(got) == {"i0", "i1", "i2"}
    assert [got[i][0] & BITS["recent"] for i in ("i0", "i1", "i2")] == [0, 0, BITS["recent"]]
    np.testing.assert_allclose(got["i2"][1][QUERY], vectors[2] @ vectors[1], atol=1e-6)
