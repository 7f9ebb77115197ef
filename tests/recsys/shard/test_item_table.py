"""A shard's table of items."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.datatypes import Item
from recsys.shard.item_table import ItemTable
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher, unit
from recsys.state.item_counts import Counts

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


names = st.sampled_from(["a", "b", "c", "d", "é"])
changes = st.lists(
    st.tuples(st.just("upsert"), st.lists(names, min_size=1, max_size=4))
    | st.tuples(st.just("delete"), st.lists(names, max_size=3))
    | st.tuples(st.just("count"), names),
    max_size=15,
)


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


class _NoIndex:
    """An index that does nothing: the table is what is tested."""

    def add(self, *_):
        pass

    remove = tune = add


def test_lists_derived_while_an_upsert_is_under_way_do_not_last():
    """A reader that looks between a new row and its old row's tombstone gets right lists afterwards."""
    items = table()
    shard = Shard("v", items, _NoIndex())
    upserted(items, named("a", "b"), np.zeros((2, D)))

    rows = items.append(named("a"), vector(1))
    assert shard.lists.matches(None).tolist() == [0, 1]  # nothing of the new row shows before it is revealed
    assert shard.lists.ranked("popular", None).tolist() == [0, 1]
    items.reveal(named("a"), rows)
    assert shard.lists.matches(None).tolist() == [1, 2]
    assert sorted(shard.lists.ranked("popular", None).tolist()) == [1, 2]


def test_many_threads_may_ask_for_many_filters():
    """Eight threads at once beside a writer; what is kept is weighed."""
    from recsys.datatypes import Condition, Filter  # noqa: PLC0415

    items = table()
    shard = Shard("v", items, _NoIndex())
    shard.upsert(named(*(f"{c}{n}" for c in "abc" for n in range(5))), np.zeros((15, D)))
    errors = []

    def ask(seed: int) -> None:
        try:
            for n in range(600):
                given_filter = Filter(must=(Condition("topic", "any", ("a", f"{(seed * 7 + n) % 400}")),))
                assert len(shard.lists.matches(given_filter)) == 5
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for n in range(50):
        shard.count(Counts([f"a{n % 5}"], [float(n)], [0.0]))
        shard.upsert(named("b1"), vector(n))
    for thread in threads:
        thread.join()
    assert errors == []
    assert 0 < shard.lists.bytes <= 64 << 20


def test_an_item_is_there_all_through_its_upsert():
    """While its new row goes into the index, and while the old one is taken out, every look finds it once."""
    items, looks = table(), []

    class Looking(_NoIndex):
        def add(self, *_):
            looks.append([items.ids[r] for r in items.live_rows()])

        remove = add

    shard = Shard("v", items, Looking())
    shard.upsert(named("a", "b"), np.vstack([vector(1), vector(2)]))
    looks.clear()
    for n in range(80):
        shard.upsert(named("a"), vector(n))
    assert len(looks) > 80
    assert all(sorted(look) == ["a", "b"] for look in looks)


def test_what_leaves_the_index_and_when_depends_on_the_log_alone():
    """The calls of the index, vector by vector, are the same in whatever pieces the changes come."""
    changes = [(f"i{(n * 7) % 50}", n % 5 == 3) for n in range(400)]

    def calls(cut: int) -> list[tuple[str, int]]:
        done: list[tuple[str, int]] = []

        class Recording(_NoIndex):
            def add(self, rows, _vectors):
                done.extend(("add", row) for row in rows.tolist())

            def remove(self, rows):
                done.extend(("remove", row) for row in rows.tolist())

        shard = Shard("v", table(), Recording())
        for start in range(0, len(changes), cut):
            upserts: list[Item] = []
            for name, is_delete in [*changes[start : start + cut], ("", True)]:
                if is_delete:
                    shard.upsert(upserts, np.zeros((len(upserts), D), np.float32))
                    upserts = []
                    shard.delete([name])
                else:
                    upserts.append(Item(name))
        return done

    assert any(what == "remove" for what, _ in calls(1))
    assert calls(1) == calls(7) == calls(64) == calls(400)


def test_vectors_of_the_items_that_are_here():
    """Each once, in the order asked; unknown ids are left out."""
    shard = Shard("v", table(), _NoIndex())
    shard.upsert(named("a", "b"), np.vstack([vector(1), vector(2)]))
    found, vectors = shard.vectors_of(["b", "ghost", "a", "b"])
    assert found == ("b", "a")
    assert vectors[:, 0].tolist() == [2, 1]
    assert shard.vectors_of([])[1].shape == (0, D)


def test_an_item_deleted_between_two_looks_harms_no_lookup():
    """`vectors_of` gives as many vectors as ids, whatever the writer does meanwhile."""
    items = table()
    shard = Shard("v", items, _NoIndex())
    shard.upsert(named("a", "b"), np.vstack([vector(1), vector(2)]))

    look = items.row

    def vanishing(item_id):
        row = look(item_id)
        items.delete([item_id])  # gone for the next look
        return row

    items.row = vanishing
    found, vectors = shard.vectors_of(["a", "b"])
    assert len(found) == len(vectors) == 2


def test_ranked_lists():
    """Popular by likes, trending only what has a trend, recent only what has a time; ties by row."""
    shard = Shard("v", table(), _NoIndex())
    times = {"a": 3.0, "b": None, "c": 9.0, "d": 3.0}
    shard.upsert([Item(n, created_at=t) for n, t in times.items()], np.zeros((4, D)))
    shard.count(Counts(["d", "b"], [5.0, 1.0], [7.0, 8.0]))
    assert shard.lists.ranked("popular", None).tolist() == [3, 1, 0, 2]
    assert shard.lists.ranked("trending", None).tolist() == [1, 3]
    assert shard.lists.ranked("recent", None).tolist() == [2, 0, 3]
    assert shard.top_count == 5.0


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
    assert not unit(np.zeros((1, 4), np.int8)).any()


@given(
    steps=st.lists(st.tuples(st.sampled_from("udc"), st.sampled_from("abcd"), st.integers(0, 9)), max_size=30),
)
def test_the_most_likes_are_those_of_an_item_that_is_here(steps):
    """After any puts, deletions and counts, also those that take likes back."""
    shard = Shard("v", table(), _NoIndex())
    for what, name, likes in steps:
        if what == "u":
            shard.upsert([Item(name)], np.zeros((1, D), np.float32))
        elif what == "d":
            shard.delete([name])
        else:
            shard.count(Counts([name, "ghost"], [float(likes), 99.0], [0.0, 0.0]))
        rows = shard.items.live_rows()
        assert shard.top_count == shard.items.counts.view[rows].max(initial=0.0)
