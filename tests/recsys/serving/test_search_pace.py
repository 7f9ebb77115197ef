"""Which searches the event loop of a shard's replica does itself."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from recsys.datatypes import Condition, Filter
from recsys.serving.search_pace import SearchPace
from recsys.shard.candidates import ShardQuery
from recsys.shard.probes import nearest_query


def asking(walks: int) -> ShardQuery:
    return nearest_query("v1", np.ones((walks, 4), np.float32), 5)


def test_a_search_is_done_at_once_while_its_walks_are_quick():
    """A full batch of short walks, and of long ones a few; any batch that walks nowhere."""
    pace = SearchPace()
    assert pace.at_once(asking(1))
    assert not pace.at_once(asking(64))
    for _ in range(200):
        pace.note(32, 32 * 50e-6)
    assert pace.at_once(asking(64))
    for _ in range(200):
        pace.note(8, 0.02)
    assert not pace.at_once(asking(8))
    assert pace.at_once(asking(1))
    assert pace.at_once(replace(asking(8), vector_k=np.zeros(8, np.int64)))


def test_a_search_under_a_filter_never_is():
    """Nobody knows before what it takes."""
    query = replace(asking(1), filters=(Filter((Condition("year", "range", low=1990.0),)),))
    assert not SearchPace().at_once(query)
    assert not SearchPace().at_once(replace(asking(1), rule_filters=query.filters))
