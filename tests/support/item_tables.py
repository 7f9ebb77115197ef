"""Tables of few items, and changes of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from recsys.datatypes import Item
from recsys.shard.item_table import ItemTable
from recsys.shard.sketches import Sketcher

D = 8
SKETCHER = Sketcher.fit(np.zeros((0, D), np.float32))


def table() -> ItemTable:
    return ItemTable({"topic": "keyword"}, D, SKETCHER)


def vector(number: float) -> np.ndarray:
    """(1, D), recognisable by its first value."""
    return np.full((1, D), number, np.float32)


def upserted(items: ItemTable, given: list[Item], vectors) -> tuple:
    rows = items.append(given, vectors)
    return rows, items.reveal(given, rows)


def named(*names: str) -> list[Item]:
    return [Item(name, f"title of {name}", "text", {"topic": name[:1]}, 5.0) for name in names]


names = st.sampled_from(["a", "b", "c", "d", "é"])
changes = st.lists(
    st.tuples(st.just("upsert"), st.lists(names, min_size=1, max_size=4))
    | st.tuples(st.just("delete"), st.lists(names, max_size=3))
    | st.tuples(st.just("count"), names),
    max_size=15,
)
