"""A shard's table of items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.datatypes import Item
from recsys.shard.sketches import Sketcher, unit
from tests.support.item_tables import D, changes, named, names, table, upserted, vector


def test_an_item_comes_back_as_it_went_in():
    """Id, title, text, attributes and time; None stays None."""
    items = table()
    given_items = [Item("ü /1", "T", "x" * 1000, {"topic": "a", "n": 1.5, "l": ["p", "q"]}, 12.5), Item("b")]
    upserted(items, given_items, np.zeros((2, D)))
    assert [items.item(items.row(i.item_id)) for i in given_items] == given_items
    assert np.isnan(items.created_at.view[1])


def test_the_last_of_several_with_one_id_wins():
    """In one upsert and in two; the earlier rows are tombstones."""
    items = table()
    added, replaced = upserted(
        items, [Item("a", "first"), Item("b"), Item("a", "second")], np.vstack([vector(1), vector(2), vector(3)])
    )
    assert (added.tolist(), replaced.tolist(), items.live) == ([0, 1, 2], [0], 2)
    assert items.item(items.row("a")).title == "second"
    assert items.vectors(items.rows(["a", "b"]))[:, 0].tolist() == [3, 2]
    added, replaced = upserted(items, [Item("a", "third")], vector(4))
    assert items.item(items.row("a")).title == "third"
    assert items.alive.view[replaced].tolist() == [False]
    assert items.live_rows().tolist() == sorted(items.rows(["a", "b"]).tolist())


def test_an_upsert_keeps_likes():
    """What people think of an item outlives a change of its text, whatever else is in the upsert."""
    items = table()
    upserted(items, named("a", "b", "c"), np.zeros((3, D)))
    items.count(["a", "b", "c"], [1.0, 2.0, 3.0], [10.0, 20.0, 30.0])
    upserted(items, named("c", "new", "a"), np.zeros((3, D)))
    rows = items.rows(["a", "b", "c", "new"])
    assert items.counts.view[rows].tolist() == [1, 2, 3, 0]
    assert items.trends.view[rows].tolist() == [10, 20, 30, -np.inf]


def test_count_passes_over_unknown_items():
    """And says by `recounts` whether anything changed."""
    items = table()
    upserted(items, named("a"), vector(0))
    items.count(["ghost"], [5.0], [5.0])
    assert items.recounts == 0
    items.count(["ghost", "a"], [5.0, 2.0], [5.0, 1.0])
    assert items.counts.view.tolist() == [2]
    items.count(["a"], [2.0], [1.0])
    assert items.recounts == 1


def test_deleting():
    """A deleted item is not found; unknown and repeated ids do no harm; it may come back."""
    items = table()
    upserted(items, named("a", "b"), np.zeros((2, D)))
    assert items.delete(["a", "ghost", "a"]).tolist() == [0]
    assert (items.row("a"), items.live, len(items)) == (None, 1, 2)
    upserted(items, named("a"), vector(9))
    assert items.live == 2
    assert items.vectors(items.rows(["a"]))[0, 0] == 9


def test_vectors_of_a_mapped_base_and_a_tail(tmp_path: Path):
    """Rows of the snapshot's file and rows that came later, mixed in any order."""
    base = np.arange(5, dtype=np.float32)[:, None] * np.ones((1, D), np.float32)
    np.save(tmp_path / "v.npy", base)
    items = table()
    items.adopt(named(*"abcde"), np.load(tmp_path / "v.npy", mmap_mode="r"))
    assert items.vectors(np.array([4, 0]))[:, 0].tolist() == [4, 0]
    upserted(items, named("f", "b"), np.vstack([vector(10), vector(11)]))
    assert items.vectors(np.array([6, 1, 5, 4, 6]))[:, 0].tolist() == [11, 1, 10, 4, 11]
    assert items.vectors(items.rows(list("abcdef")))[:, 0].tolist() == [0, 11, 2, 3, 4, 10]
    with pytest.raises(ValueError, match="empty"):
        items.adopt([], base[:0])


@given(st.lists(names, unique=True), changes)
def test_a_table_is_a_dictionary(start, steps):
    """After any upserts, deletes and counts: the same ids, titles, vectors and likes as a dict of the last words."""
    items, truth = table(), {}
    items.adopt(named(*start), np.vstack([vector(-i) for i in range(len(start))] or [np.zeros((0, D), np.float32)]))
    truth = {n: (f"title of {n}", float(-i), 0.0) for i, n in enumerate(start)}
    for step, (what, of) in enumerate(steps, 1):
        generation = items.generation
        if what == "upsert":
            added = [Item(n, f"{step}.{i}") for i, n in enumerate(of)]
            upserted(items, added, np.vstack([vector(step + i / 10) for i in range(len(of))]))
            likes = {n: truth[n][2] for n in of if n in truth}
            truth |= {n: (f"{step}.{i}", np.float32(step + i / 10), likes.get(n, 0.0)) for i, n in enumerate(of)}
        elif what == "delete":
            items.delete(of)
            for n in of:
                truth.pop(n, None)
        else:
            items.count([of], [float(step)], [0.0])
            if of in truth:
                truth[of] = (*truth[of][:2], float(step))
        if what != "count":
            assert items.generation > generation
    found = {
        items.ids[r]: (items.titles[r], items.vectors(np.array([r]))[0, 0], items.counts.view[r])
        for r in items.live_rows()
    }
    assert found == truth
    assert items.live == len(truth)
    assert {n: items.row(n) for n in truth} == {items.ids[r]: r for r in items.live_rows()}


@pytest.mark.parametrize("n", [3, 500])
def test_sketches_keep_cosines(n):
    """Where the sketch is as wide as the vectors their cosines agree to a few hundredths; zeros stay zeros."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, 16)).astype(np.float32)
    sketcher = Sketcher.fit(vectors)
    codes = sketcher.sketch(vectors)
    assert codes.dtype == np.int8
    exact = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(unit(codes) @ unit(codes).T, exact @ exact.T, atol=0.05)
    assert not sketcher.sketch(np.zeros((2, 16), np.float32)).any()
    each = [sketcher.sketch(vectors[row : row + 1])[0] for row in range(len(vectors))]
    assert np.array_equal(sketcher.sketch_each(vectors), each)
    assert sketcher.sketch_each(vectors[:0]).shape == sketcher.sketch(vectors[:0]).shape
    assert not unit(np.zeros((1, 4), np.int8)).any()
