"""Messages between composer and shard: they come back as they went, and one that does not fit is refused by field."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from recsys.columns import StringColumn
from recsys.datatypes import Condition, Filter, Item
from recsys.shard.candidates import QUERY, TASTE, CandidateSet, Searched, ShardQuery
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.shard.trail_measures import LIKENESS
from recsys.state.membership import WIRE
from recsys.transport import wire
from tests.support.small_shards import Asked, D, make_shard, query_of
from tests.support.world import unit_rows

VECTORS = unit_rows(np.random.default_rng(3).standard_normal((2, D)))
QUERIES = query_of(
    [
        Asked([(QUERY, "similar", 8, VECTORS[0]), (TASTE, None, 0, VECTORS[1])], {"popular": 5}, exclude=["i3", "i4"]),
        Asked(items=("i5",)),
    ]
)
ANSWER = search(make_shard(60, "flat"), QUERIES)


def test_messages_come_back_as_they_went():
    """Also those without any candidate or vector."""
    for query in (QUERIES, query_of([Asked()])):
        payload = wire.encode(query)
        assert wire.encode(wire.decode_query(payload)) == payload
        answer = wire.encode(search(make_shard(0, "flat"), query))
        assert wire.encode(wire.decode_candidates(answer)) == answer
    payload = wire.encode(ANSWER)
    assert wire.encode(wire.decode_candidates(payload)) == payload
    found = wire.decode_vectors(wire.encode(wire.ItemVectors(("a", "b"), np.ones((2, 3), np.float32))))
    assert found.item_ids == ("a", "b")
    assert found.vectors.tolist() == [[1.0] * 3] * 2


ARRAYS = [name for name in ShardQuery.__struct_fields__ if isinstance(getattr(QUERIES, name), np.ndarray)]
COLUMNS = [name for name in CandidateSet.__struct_fields__ if isinstance(getattr(ANSWER, name), np.ndarray)]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kind", [np.int16, np.complex64, np.bool_])
def test_an_array_of_a_query_with_another_dtype_is_refused(name, kind):
    """By the name of its field, with what it is and what it has to be."""
    wrong = replace(QUERIES, **{name: np.zeros_like(getattr(QUERIES, name), kind)})
    with pytest.raises(msgspec.ValidationError, match=rf"has to be .* - at `\$\.{name}`"):
        wire.decode_query(wire.encode(wrong))


@pytest.mark.parametrize("name", COLUMNS)
def test_an_array_of_an_answer_with_another_dtype_is_refused(name):
    wrong = replace(ANSWER, **{name: np.zeros_like(getattr(ANSWER, name), np.int16)})
    with pytest.raises(msgspec.ValidationError, match=rf"'<i2' and has to be .* - at `\$\.{name}`"):
        wire.decode_candidates(wire.encode(wrong))


def test_the_other_byte_order_is_another_dtype():
    with pytest.raises(msgspec.ValidationError, match=r"'>f4' and has to be '<f4' \(float32\) - at `\$\.vectors`"):
        wire.decode_query(wire.encode(replace(QUERIES, vectors=QUERIES.vectors.astype(">f4"))))


def misshapen(array: np.ndarray) -> list[np.ndarray]:
    """The array with a dimension more, and in one where it has two, and without a dimension."""
    return [array[None], array.ravel() if array.ndim > 1 else array[:, None], np.zeros((), array.dtype)]


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_a_query_with_another_shape_is_refused(name):
    for array in misshapen(getattr(QUERIES, name)):
        with pytest.raises(msgspec.ValidationError, match=r"shape|dimension"):
            wire.decode_query(wire.encode(replace(QUERIES, **{name: array})))


@pytest.mark.parametrize("name", COLUMNS)
def test_an_array_of_an_answer_with_another_shape_is_refused(name):
    for array in misshapen(getattr(ANSWER, name)):
        with pytest.raises(msgspec.ValidationError, match=r"shape|dimension"):
            wire.decode_candidates(wire.encode(replace(ANSWER, **{name: array})))


LONGER: list[tuple[str, Any]] = [
    ("vector_k", np.zeros(3, np.int64)),
    ("trail_weights", np.zeros(1, np.float32)),
    ("exclude_offsets", np.zeros(2, np.int64)),
    ("column_k", np.zeros((2, 4), np.int64)),
    ("filters", (None,)),
    ("asked", ((),)),
]


@pytest.mark.parametrize(("name", "value"), LONGER, ids=[name for name, _ in LONGER])
def test_columns_of_a_query_that_do_not_match_are_refused(name, value):
    """Each says how many rows the others have."""
    with pytest.raises(msgspec.ValidationError):
        wire.decode_query(wire.encode(replace(QUERIES, **{name: value})))


def test_columns_of_an_answer_that_do_not_match_are_refused():
    """One candidate too few, one id too many, one role too few."""
    for name, value in (
        ("sources", ANSWER.sources[1:]),
        ("ids", StringColumn.of([*ANSWER.ids.strings(), "one more"])),
        ("likeness", ANSWER.likeness[:, 1:]),
    ):
        with pytest.raises(msgspec.ValidationError, match=rf"has to have .* - at `\$\.{name}"):
            wire.decode_candidates(wire.encode(replace(ANSWER, **{name: value})))
    with pytest.raises(msgspec.ValidationError, match=r"\(1, 3\) and has to have \(2, 3\) - at `\$\.vectors`"):
        wire.decode_vectors(wire.encode(wire.ItemVectors(("a", "b"), np.ones((1, 3), np.float32))))


def test_memory_that_is_no_whole_array_is_refused():
    """A shape that promises more than the memory holds, and memory that ends within a number."""
    for dtype, shape, memory in (("<f4", [2, 3], bytes(20)), ("<f4", [1, 2], bytes(7))):
        payload = msgspec.msgpack.encode([["a"] * shape[0], [dtype, shape, memory]])
        with pytest.raises(msgspec.ValidationError, match=r"at `\$"):
            wire.decode_vectors(payload)


def test_a_search_message_with_other_memory_is_refused():
    """Memory that is cut short or goes on behind the last array, and a shape that promises more than there is."""
    for decode, payload in (
        (wire.decode_query, wire.encode(QUERIES)),
        (wire.decode_candidates, wire.encode(ANSWER)),
    ):
        for wrong in (payload[:-1], payload[: len(payload) // 2], payload[:3], payload + b"\0"):
            with pytest.raises(msgspec.DecodeError):
                decode(wrong)


@pytest.mark.parametrize("name", ["filters", "asked", "version", "recall_floors", "rule_filters"])
def test_a_field_of_another_type_is_refused_by_its_name(name):
    with pytest.raises(msgspec.ValidationError, match=rf"`\$\.{name}"):
        wire.decode_query(wire.encode(replace(QUERIES, **{name: [{"a": 1}, 2]})))


def test_a_query_crosses_unchanged():
    """Arrays keep shape, dtype and values; filters keep their types."""
    plain = nearest_query("v1", np.random.default_rng(2).random((3, 8), np.float32), 5)
    condition = Condition("year", "range", low=1990.0, low_open=True)
    query = type(plain)(
        **{f: getattr(plain, f) for f in plain.__struct_fields__}
        | {
            "filters": (None, Filter(must=(condition,)), Filter(should=(Condition("g", "any", ("a", 2.0)),))),
            "asked": ((), ("é/1",), ()),
        }
    )
    crossed = wire.decode_query(wire.encode(query))
    for name in query.__struct_fields__:
        sent, arrived = getattr(query, name), getattr(crossed, name)
        if isinstance(sent, np.ndarray):
            assert arrived.dtype == sent.dtype
            np.testing.assert_array_equal(arrived, sent)
        else:
            assert arrived == sent


def test_what_was_kept_of_a_head_says_nothing_of_the_next_message():
    """Questions of the same head have their own vectors, and are refused where their memory is no whole array."""
    for turn in range(1000):  # more heads than are kept
        query = nearest_query(f"v{turn % 500}", VECTORS * np.float32(turn), 5)
        payload = wire.encode(query)
        decoded = wire.decode_query(payload)
        assert decoded.version == query.version
        np.testing.assert_array_equal(decoded.vectors, query.vectors)
        for broken in (payload[:-1], payload + b"0"):
            with pytest.raises(msgspec.ValidationError, match=r"whole array|has to have"):
                wire.decode_query(broken)


def test_filters_of_rules_are_written_and_read_once():
    """Those that are the same object for the sender are the same for who reads; others are others, and more than are
    kept come as they went.
    """
    query = nearest_query("v", VECTORS, 5)
    for turn in range(200):
        rules = tuple(Filter(must=(Condition("n", "any", (float(turn % 100), f"r{n}")),)) for n in range(3))
        one, again = (wire.decode_query(wire.encode(replace(query, rule_filters=rules))) for _ in range(2))
        assert one.rule_filters == rules
        assert one.rule_filters is again.rule_filters
    assert wire.decode_query(wire.encode(query)).rule_filters == ()


def test_items_and_empty_answers_cross():
    """An answer without candidates, and an item with every kind of attribute."""
    none = CandidateSet(
        offsets=np.zeros(2, np.int64),
        keys=np.zeros(0, np.uint64),
        sources=np.zeros(0, np.int64),
        likeness=np.zeros((0, LIKENESS), np.float32),
        columns=np.zeros((0, 3)),
        ids=StringColumn.of([]),
        titles=StringColumn.of([]),
        sketches=np.zeros((0, 0), np.int8),
        groups=np.zeros((0, 0), np.uint64),
        twins=np.zeros(0, np.uint64),
        matches=np.zeros((0, 0), np.uint8),
        top_count=0.0,
    )
    crossed = wire.decode_candidates(wire.encode(none))
    assert crossed.likeness.shape == (0, LIKENESS)
    assert len(crossed.ids) == 0
    item = Item("i", "t", "x", {"k": "v", "n": 1.5, "l": ["a", "b"]}, 12.0)
    assert wire.decode_items(wire.encode([item])) == [item]


def test_a_malformed_message_builds_nothing():
    """Bytes that are no query raise a validation error and nothing else."""
    for payload in (b"\x93\x01\x02\x03", b"", wire.encode(QUERIES)[:-5]):
        with pytest.raises(msgspec.DecodeError):
            wire.decode_query(payload)


def test_messages_that_change_have_another_number() -> None:
    """`membership.WIRE` names the fields of all messages. One more at the end that has a default changes only the hash
    below; with any other change the number grows.
    """
    messages = (ShardQuery, CandidateSet, wire.Lookup, wire.Page, wire.ItemVectors)
    kinds = (*messages[:2], Searched, StringColumn, Item, Condition, *messages[2:])
    fields = [
        f"{kind.__name__}.{name}: {annotation}" for kind in kinds for name, annotation in kind.__annotations__.items()
    ]
    assert (WIRE, hashlib.sha256("\n".join(fields).encode()).hexdigest()[:16]) == (4, "db594cac1bf3c4e4")
