"""Which searches the event loop of a shard's replica does itself."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from recsys.datatypes import Condition, Filter, Item
from recsys.serving.search_pace import SearchPace
from recsys.shard.candidates import ShardQuery
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.state.item_counts import Counts
from tests.support.small_shards import D, make_shard

SHARD = make_shard(100)
EVEN = Filter((Condition("parity", "any", ("even",)),))


def asking(walks: int) -> ShardQuery:
    return nearest_query("v1", np.ones((walks, D), np.float32), 5)


def test_a_search_is_done_at_once_while_its_walks_are_quick():
    """A full batch of short walks, and of long ones a few; any batch that walks nowhere."""
    pace = SearchPace()
    assert pace.at_once(SHARD, asking(1))
    assert not pace.at_once(SHARD, asking(64))
    for _ in range(200):
        pace.note(32, 32 * 50e-6)
    assert pace.at_once(SHARD, asking(64))
    for _ in range(200):
        pace.note(8, 0.02)
    assert not pace.at_once(SHARD, asking(8))
    assert pace.at_once(SHARD, asking(1))
    assert pace.at_once(SHARD, replace(asking(8), vector_k=np.zeros(8, np.int64)))


def test_a_search_under_a_filter_never_is():
    """Nobody knows before what it takes."""
    assert not SearchPace().at_once(SHARD, replace(asking(1), filters=(EVEN,)))


def test_a_search_with_rules_is_done_at_once_when_their_matches_are_known():
    """Until then, and again once likes or items changed, nobody knows before what they take."""
    shard, pace = make_shard(100), SearchPace()
    boosted, pinned = (replace(asking(1), rule_filters=(EVEN,), rule_wants=wants) for wants in ((), ((0, 0, 5),)))
    for query in (boosted, pinned):
        assert not pace.at_once(shard, query)
        search(shard, query)
        assert pace.at_once(shard, query)
    shard.count(Counts(["i1"], [9.0], [9.0]))
    assert pace.at_once(shard, boosted)
    assert not pace.at_once(shard, pinned)
    shard.upsert([Item("new", "new", "", {"parity": "even"})], np.ones((1, D), np.float32))
    assert not pace.at_once(shard, boosted)
