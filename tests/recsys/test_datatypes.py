"""Item keys and string columns."""

from __future__ import annotations

import pickle

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.columns import StringColumn
from recsys.datatypes import KEY_BITS, Condition, Filter, Interaction, Item, item_key, item_keys, unknown_user
from recsys.errors import BadInput, NotFound, Overloaded
from tests.support.any_text import any_text

texts = st.lists(any_text(max_size=20), max_size=30)


def strings(column: StringColumn) -> list[str]:
    return [column[i] for i in range(len(column))]


@given(texts)
def test_a_string_column_is_a_list_of_strings(given_texts):
    """Whatever the characters, and for no string at all."""
    column = StringColumn.of(given_texts)
    assert strings(column) == given_texts
    assert strings(pickle.loads(pickle.dumps(column))) == given_texts


@given(texts, st.data())
def test_take_picks_rows_in_any_order(given_texts, data):
    """With repetition, like indexing a list."""
    places = st.lists(st.integers(0, max(len(given_texts) - 1, 0)), max_size=40 if given_texts else 0)
    rows = data.draw(places)
    taken = StringColumn.of(given_texts).take(np.array(rows, np.int64))
    assert strings(taken) == [given_texts[r] for r in rows]


@given(st.lists(texts, min_size=1, max_size=5))
def test_concat_is_list_addition(parts):
    """Of empty columns too."""
    assert strings(StringColumn.concat([StringColumn.of(p) for p in parts])) == [s for p in parts for s in p]


def test_item_keys_are_pinned():
    """Keys are stored in profiles and shared by all processes: their values may never change."""
    pinned = {"a": 73912390445837, "ü/ 1": 154447043639699}
    assert {i: item_key(i) for i in pinned} == pinned


@given(any_text(max_size=30))
def test_a_key_has_48_bits(item_id):
    """The 16 bits above are left for the request's place in its batch."""
    assert 0 <= item_key(item_id) < 1 << KEY_BITS
    assert item_keys([item_id, item_id]).tolist() == [item_key(item_id)] * 2


def test_no_keys():
    assert item_keys([]).dtype == np.uint64


@pytest.mark.parametrize(
    ("title", "text", "passage"), [("T", "x", "T. x"), ("T", "", "T"), ("", "x", "x"), ("", "", "")]
)
def test_the_encoder_reads_title_and_text(title, text, passage):
    """Whichever of the two there is."""
    assert Item("i", title, text).passage() == passage


def test_an_unknown_user_is_cold():
    """Nothing seen, no taste, the dimension asked for."""
    user = unknown_user(7)
    assert user.cold
    assert user.sequence == 0
    assert user.recent_vectors.shape == (0, 7)


def test_errors_cross_processes():
    """Message, field, code and kind survive pickling."""
    for error in (BadInput("m", field="f", code="c"), NotFound("m", field="g"), Overloaded("m")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == "m"
        assert copy.code == error.code
        assert getattr(copy, "field", None) == getattr(error, "field", None)


def test_a_filter_whose_hash_is_known_is_still_what_it_says():
    given = Filter((Condition("item_id", "any", ("a", "b")),), also=(Filter(should=(Condition("price", "exists"),)),))
    before = msgspec.msgpack.encode(given)
    known = hash(given)
    assert msgspec.msgpack.encode(given) == before
    for again in (msgspec.msgpack.decode(before, type=Filter), pickle.loads(pickle.dumps(given)), given.with_(None)):
        assert again == given
        assert hash(again) == known
        assert repr(again) == repr(given)
    assert hash(given.with_(Filter(must_not=given.must))) != known


def test_records_are_frozen():
    """A record that two parts share cannot be changed by one of them."""
    with pytest.raises(AttributeError):
        Interaction("e", "u", "i", "like", 1.0).value = 2.0
