"""What a shard keeps of items that were written again."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.datatypes import Item
from recsys.shard import shard as shards
from recsys.shard.equal_items import Twins
from tests.support.small_shards import D, make_shard
from tests.support.world import unit_rows

ITEMS, WRITES = 20, 320
START = 219
"""The first row that is written: behind 200 items, of which 19 were moved."""


def items(rng, numbers):
    return [Item(f"new{n % ITEMS}", f"title {n}", f"text {n}" * 20) for n in numbers], unit_rows(
        rng.standard_normal((len(numbers), D))
    )


def written(pieces: int):
    """A shard in which twenty items were written sixteen times each, so many writes at a time."""
    shard, rng = make_shard(200, "hnsw_int8"), np.random.default_rng(4)
    whole, vectors = items(rng, range(WRITES))
    for start in range(0, WRITES, pieces):
        shard.upsert(whole[start : start + pieces], vectors[start : start + pieces])
        shard.fresh.link()
    return shard, whole, vectors


def test_rows_that_went_take_no_memory_and_what_is_there_is_as_written(monkeypatch):
    """Their vectors and documents are zeros; the twenty items have those of their last write."""
    monkeypatch.setattr(shards, "READ_S", -1.0)
    shard, whole, vectors = written(1)
    gone = START + np.flatnonzero(~shard.items.stored.view[START:])
    assert len(gone) == WRITES - ITEMS
    assert (shard.items.vectors(gone) != 0).any(axis=1).sum() < 120  # the last ones, which go with the next
    last = {item.item_id: (item, vector) for item, vector in zip(whole, vectors, strict=True)}
    for item_id, (item, vector) in last.items():
        assert shard.item(item_id) == item
        np.testing.assert_array_equal(shard.items.vectors(shard.items.rows([item_id]))[0], vector)


def test_rows_stay_while_a_search_may_read_them():
    shard, _, vectors = written(1)
    np.testing.assert_array_equal(shard.items.vectors(np.arange(START, START + WRITES)), vectors)


def test_rows_stay_until_they_are_linked(monkeypatch):
    """The index takes the vectors of all rows, also of those that have gone meanwhile."""
    monkeypatch.setattr(shards, "READ_S", -1.0)
    shard, rng = make_shard(200, "hnsw_int8"), np.random.default_rng(4)
    whole, vectors = items(rng, range(WRITES))
    shard.upsert(whole, vectors)
    np.testing.assert_array_equal(shard.items.vectors(np.arange(START, START + WRITES)), vectors)


def test_replicas_agree_whatever_went_by_then(monkeypatch):
    """Also on the vector of an item that comes with the text of one that has gone."""
    one, whole, vectors = written(1)
    monkeypatch.setattr(shards, "READ_S", -1.0)
    others = [written(pieces)[0] for pieces in (7, 64, WRITES)]
    again = [Item("late", item.title, item.text) for item in whole[3:4]]
    near = unit_rows(vectors[3:4] + 0.01)
    for shard in (one, *others):
        shard.upsert(again, near)
    for item_id in ["late", *(f"new{n}" for n in range(ITEMS))]:
        rows = one.items.rows([item_id])
        for other in others:
            assert other.items.rows([item_id]) == rows
            np.testing.assert_array_equal(one.items.vectors(rows), other.items.vectors(rows))


def test_an_equal_item_gives_its_vector_after_the_first_with_its_text_went(monkeypatch):
    """As long as any item has had the same title and text, the vector of the first stays."""
    monkeypatch.setattr(shards, "READ_S", -1.0)
    shard, rng = make_shard(200, "hnsw_int8"), np.random.default_rng(4)
    vectors = unit_rows(rng.standard_normal((1, D)))
    near = [unit_rows(vectors + 0.01 * n) for n in range(3)]
    for name, vector in zip("ab", near[:2], strict=True):
        shard.upsert([Item(name, "the same", "words")], vector)
    shard.delete(["a"])
    whole, others = items(rng, range(300))
    for item, other in zip(whole, others, strict=True):
        shard.upsert([item], other[None])
        shard.fresh.link()
    shard.upsert([Item("c", "the same", "words")], near[2])
    for name in "bc":
        np.testing.assert_array_equal(shard.items.vectors(shard.items.rows([name])), vectors)


def test_vectors_that_come_are_not_copied_again():
    """They stay where they were written to, however many come behind them."""
    table = make_shard(200, "flat").items
    start, vectors = len(table), unit_rows(np.random.default_rng(0).standard_normal((500, D)))
    places = set()
    for part in range(40):
        table.append([Item(f"come{part}-{n}", "") for n in range(500)], vectors)
        places.add(table.latest_vectors(start, start + 1).ctypes.data)
    assert len(places) == 1
    np.testing.assert_array_equal(table.vectors(np.arange(start, start + 500)), vectors)


@pytest.mark.parametrize("learned", [0, 8])
def test_equal_items_are_the_same_together_and_one_by_one(learned):
    """Their keys, and which have equals, also of texts that come twice in one call."""
    rng = np.random.default_rng(0)
    whole = [Item(f"i{n}", f"title {n % 7}" if n % 5 else "", f"text {n % 3}" if n % 4 else "") for n in range(90)]
    parts, together, alone = rng.standard_normal((90, learned)).astype(np.float32), Twins(learned), Twins(learned)
    together.append(whole, parts)
    for n, item in enumerate(whole):
        alone.append([item], parts[n : n + 1])
    np.testing.assert_array_equal(together.keys.view, alone.keys.view)
    np.testing.assert_array_equal(together.several.view, alone.several.view)
    assert together.several.view.any()
    assert together.firsts(whole).tolist() == alone.firsts(whole).tolist()
