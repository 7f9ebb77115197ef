"""Which items a shard may give at a moment, against a plain predicate, through every source."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Condition, Filter, Item
from recsys.index.base import engine
from recsys.shard.availability import Availability
from recsys.shard.candidates import QUERY
from recsys.shard.item_table import ItemTable
from recsys.shard.listing import order_of, page
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.sources import BITS
from tests.support.small_shards import Asked, D, query_of
from tests.support.world import unit_rows

EVEN = Filter(must=(Condition("parity", "any", ("even",)),))
K = 60
bounds = st.one_of(st.none(), st.integers(0, 20).map(float))
life = st.tuples(st.booleans(), bounds, bounds)
changes = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.tuples(st.integers(0, 29), life), min_size=1, max_size=8)),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 29), min_size=1, max_size=4)),
    st.tuples(st.just("look"), st.integers(-1, 21)),
)


def item(n: int, state: tuple[bool, float | None, float | None]) -> Item:
    hidden, start, end = state
    parity = {"parity": ("even", "odd")[n % 2]}
    return Item(f"i{n}", f"t{n}", "", parity, float(n), hidden and n % 5 == 0, start, end)


def available(one: Item, now: float) -> bool:
    """The plain predicate."""
    after = one.available_from is None or one.available_from <= now
    before = one.available_until is None or now < one.available_until
    return not one.hidden and after and before


def given_by(shard: Shard, now: float, source: str, filtered: bool) -> set[str]:
    """Ids that one source gives, of as many as there can be."""
    vector = unit_rows(np.ones((1, D)))[0]
    asked = Asked(filter=EVEN if filtered else None)
    if source in ("similar", "new"):
        asked.vectors = [(QUERY, source, K, vector)]
    elif source == "asked":
        asked.items = tuple(f"i{n}" for n in range(0, 30, 2 if filtered else 1))
    elif source != "promoted":
        asked.columns = {source: K}
    query = structs.replace(query_of([asked]), now=now)
    if source == "promoted":
        every = Filter(must=(Condition("parity", "exists"),))
        query = structs.replace(query, rule_filters=(every,), rule_wants=((0, 0, K),))
    found = search(shard, query)
    assert all(int(bits) & BITS[source] for bits in found.sources)
    return set(found.ids.strings())


def empty_shard() -> Shard:
    spec = IndexSpec.of("hnsw")
    table = ItemTable({"parity": "keyword"}, D, Sketcher.fit(np.zeros((0, D), np.float32)))
    shard = Shard("v", table, engine(spec).create(spec, D))
    shard.tune(ShardTuning(exact_below=4))
    return shard


@settings(max_examples=35)
@given(st.lists(changes, max_size=14))
def test_every_source_gives_what_is_available_at_the_moment(steps):
    """Whatever is written in between, with and without a filter, and whichever way the clock goes: cached lists and
    masks of another moment do not matter.
    """
    shard, items = empty_shard(), {}
    rng = np.random.default_rng(3)
    for what, given_ in [*steps, ("look", 10)]:
        if what == "upsert":
            new = {n: item(n, state) for n, state in given_}
            shard.upsert(list(new.values()), unit_rows(rng.standard_normal((len(new), D))))
            items |= new
        elif what == "delete":
            shard.delete([f"i{n}" for n in given_])
            items = {n: one for n, one in items.items() if n not in given_}
        else:
            expected = {one.item_id for one in items.values() if available(one, float(given_))}
            even = {i for i in expected if int(i[1:]) % 2 == 0}
            for source in ("similar", "popular", "recent", "new", "asked", "promoted"):
                assert given_by(shard, float(given_), source, filtered=False) == expected, source
                assert given_by(shard, float(given_), source, filtered=True) == even, source
            assert shard.items.shown == len(expected)
            assert shard.items.live == len(items)


@given(st.sets(st.integers(0, 99), max_size=40), st.integers(1, 9), st.booleans())
def test_pages_list_every_item_once_also_the_hidden(numbers, limit, filtered):
    """In the order of keys and ids; a filter leaves out what does not match."""
    shard = empty_shard()
    items = [item(n, (n % 2 == 0, 1e12, None)) for n in sorted(numbers)]
    if items:
        shard.upsert(items, unit_rows(np.ones((len(items), D))))
    seen: list[str] = []
    for _ in itertools.count():
        part = page(shard, seen[-1] if seen else None, limit, EVEN if filtered else None)
        seen += [one.item_id for one in part]
        if len(part) < limit:
            break
    expected = [one.item_id for one in items if not filtered or int(one.item_id[1:]) % 2 == 0]
    assert seen == sorted(expected, key=order_of)


def test_a_snapshot_without_bounds_and_what_came_later():
    """Rows of a snapshot that says with one number that none has bounds, and rows behind them that have some."""
    always = Availability(5.0)
    always.adopt(np.broadcast_to(-np.inf, 3), np.broadcast_to(np.inf, 3))
    always.extend([Item("a"), Item("b", available_from=9.0), Item("c", available_until=7.0), Item("d", hidden=True)])
    assert always.open_now().tolist() == [True] * 4 + [False, True, False]
    assert always.is_open(np.array([6, 0, 4, 5, 3])).tolist() == [False, True, False, True, True]
    assert always.steady(6.0)
    assert not always.steady(7.0)
    assert sorted(always.move(10.0).tolist()) == [4, 5]
    assert always.open_now().tolist() == [True] * 5 + [False, False]


def test_an_item_opens_and_closes_at_the_very_moment():
    """It is there from the moment on that it opens, and up to the one at which it closes."""
    at = Availability(9.0)
    at.extend([Item("a", available_from=9.0), Item("b", available_until=9.0), Item("c", available_until=9.5)])
    assert at.open_now().tolist() == at.is_open(np.arange(3)).tolist() == [True, False, True]
    assert at.move(9.5).tolist() == [2]
