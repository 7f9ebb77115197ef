"""Items as bytes are the items."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import packed_items
from recsys.data.packed_items import PackedItems
from recsys.data.passages import Passages, first_places
from recsys.datatypes import Item
from recsys.state.tie_breaking import in_catalogue_order
from tests.support.any_text import any_text

values = st.one_of(any_text(max_size=4), st.floats(allow_nan=False), st.booleans(), st.lists(any_text(max_size=3)))
times = st.one_of(st.none(), st.floats(0, 2e9))
texts = st.sampled_from(["", "é", "a b", "…"])
items = st.builds(
    Item,
    st.integers(0, 9).map(str),
    texts,
    texts,
    st.dictionaries(any_text(max_size=3), values, max_size=3),
    times,
    st.booleans(),
    times,
    times,
)


@given(st.lists(items, max_size=30))
def test_items_come_back_in_their_order_and_in_that_of_the_catalogue(given):
    """All of them, single ones and slices; of several with one id the last stays."""
    packed = PackedItems(given)
    assert list(packed) == given
    assert [packed[place] for place in range(-len(given), len(given))] == given + given
    assert packed[1:20:3] == given[1:20:3]
    expected = list(in_catalogue_order(given))
    ordered = packed.ordered()
    assert list(ordered) == expected
    assert len(ordered) == len(expected)
    assert in_catalogue_order(ordered) is ordered
    with pytest.raises(IndexError):
        ordered[len(expected)]
    with pytest.raises(ValueError, match="take no others"):
        ordered.extend([Item("a")])


def test_ids_that_share_a_key_stay_apart(monkeypatch):
    """Two ids may have one hash: both items stay, in the order of their ids."""
    monkeypatch.setattr(packed_items, "item_key", lambda item_id: int(item_id) // 10)
    monkeypatch.setattr(packed_items, "item_keys", lambda ids: packed_items.np.array([int(i) // 10 for i in ids], "u8"))
    given = [Item("31"), Item("12"), Item("11", "first"), Item("40"), Item("11", "last")]
    assert [(item.item_id, item.title) for item in PackedItems(given).ordered()] == [
        ("11", "last"), ("12", ""), ("31", ""), ("40", ""),
    ]  # fmt: skip


@given(st.lists(items, max_size=30))
def test_each_text_has_a_first_place(given):
    """The first item with it; and the texts are those that the encoder reads."""
    passages = [item.passage() for item in given]
    assert first_places(given).tolist() == [passages.index(passage) for passage in passages]
    places = first_places(given)
    assert Passages(given, places)[:] == [passages[place] for place in places]
    assert [Passages(given, places)[at] for at in range(len(given))] == Passages(given, places)[:]
