"""Reading a shard's items while they change, and what is derived of them."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.datatypes import Item
from recsys.shard.shard import Shard
from recsys.state.item_counts import Counts
from tests.support.item_tables import D, named, table, upserted, vector


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
    """Before and while its new row goes into the index, and while the old one leaves it, every look finds it once."""
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
        looks.append([items.ids[r] for r in items.live_rows()])
        shard.fresh.link()
    assert len(looks) > 160
    assert all(sorted(look) == ["a", "b"] for look in looks)


def test_what_leaves_the_index_and_when_depends_on_the_log_alone():
    """The calls of the index, vector by vector, are the same in whatever pieces the changes come and are linked."""
    changes = [(f"i{(n * 7) % 50}", n % 5 == 3) for n in range(400)]

    def calls(cut: int, linked: int | None = None) -> list[tuple[str, int]]:
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
            shard.fresh.link(linked)
        shard.fresh.link()
        return done

    assert any(what == "remove" for what, _ in calls(1))
    assert calls(1) == calls(7) == calls(64) == calls(400)
    assert calls(1) == calls(1, 0) == calls(7, 3) == calls(7, 0) == calls(64, 40)


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
