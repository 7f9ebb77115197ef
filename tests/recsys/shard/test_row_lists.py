"""Lists of rows that are mended while the table changes, against a plain reading of the table."""

from __future__ import annotations

import numpy as np
import pytest

import recsys.shard.row_lists as rowlists
from recsys.datatypes import Condition, Filter, Item
from recsys.shard.changed_rows import KEPT, Journal
from recsys.shard.item_table import ItemTable
from recsys.shard.row_lists import NEW_LIKES, RowLists
from recsys.shard.sketches import Sketcher

D = 4
SKETCHER = Sketcher.fit(np.zeros((0, D), np.float32))
EVEN = Filter(must=(Condition("parity", "any", ("even",)),))
RARE = Filter(must=(Condition("number", "range", low=0, high=3),))
NONE = Filter(must=(Condition("parity", "any", ("neither",)),))
ODD = Filter(must_not=(Condition("parity", "any", ("even",)),))
FILTERS = (None, EVEN, RARE, NONE, ODD)


def table() -> ItemTable:
    return ItemTable({"parity": "keyword", "number": "number"}, D, SKETCHER)


def item(n: int, rng: np.random.Generator) -> Item:
    attributes = {"parity": ("even", "odd")[n % 2], "number": float(rng.integers(100))}
    return Item(f"i{n}", f"t{rng.integers(1 << 60)}", "", attributes, float(rng.integers(50)) if n % 3 else None)


def upsert(items: ItemTable, given: list[Item]) -> None:
    rows = items.append(given, np.zeros((len(given), D), np.float32))
    items.reveal(given, rows)


def plain(items: ItemTable, column: str, given: Filter | None) -> list[int]:
    """Live rows that match and have a value, the largest first, then by row."""
    n = len(items)
    mask = items.alive.view[:n] & (True if given is None else items.attributes.mask(given, n))
    values = {
        "popular": items.counts.view,
        "trending": items.trends.view,
        "recent": items.created_at.view,
        "new": np.where(items.counts.view < NEW_LIKES, np.arange(n), np.nan),
    }[column]
    rows = [r for r in np.flatnonzero(mask).tolist() if np.isfinite(values[r])]
    return sorted(rows, key=lambda r: (-values[r], r))


@pytest.mark.parametrize("seed", range(4))
def test_lists_stay_right_while_the_table_changes(monkeypatch, seed):
    """After every change, of whatever size, each list begins as the plain one, and is as long as was asked for."""
    monkeypatch.setattr(rowlists, "BEST", 32)
    monkeypatch.setattr(rowlists, "LEAST", 8)
    rng = np.random.default_rng(seed)
    items = table()
    lists = RowLists(items)
    first = [item(n, rng) for n in range(150)]
    items.adopt(first, np.zeros((150, D), np.float32))
    for step in range(80):
        names = [f"i{n}" for n in rng.integers(0, 300, rng.choice([1, 2, 5, 60], p=[0.5, 0.2, 0.2, 0.1]))]
        what = rng.choice(["upsert", "delete", "count", "nothing"], p=[0.35, 0.25, 0.3, 0.1])
        if what == "upsert":
            upsert(items, [item(int(name[1:]), rng) for name in names])
        elif what == "delete":
            items.delete(names)
        elif what == "count":
            likes = rng.integers(0, 8, len(names)).astype(float)
            items.count(names, likes.tolist(), np.where(likes > 3, likes, -np.inf).tolist())
        for column in ("popular", "trending", "recent", "new"):
            for given in FILTERS:
                wanted = int(rng.choice([1, 7, 40, 1000]))
                found, expected = lists.ranked(column, given, wanted).tolist(), plain(items, column, given)
                assert found[:wanted] == expected[:wanted], (step, column, given)
                assert found == expected[: len(found)]
        for given in FILTERS:
            n = len(items)
            mask = items.alive.view[:n] & (True if given is None else items.attributes.mask(given, n))
            assert lists.matches(given).tolist() == np.flatnonzero(mask).tolist()
            assert lists.count(given) == mask.sum()
    assert lists.ranked("popular", None).tolist() == plain(items, "popular", None)


def test_masks_asked_for_together_are_those_of_each():
    """Again and again, of other filters, and when rows came; and it is known whether one has to be made."""
    rng, items = np.random.default_rng(0), table()
    lists = RowLists(items)
    for start in range(0, 60, 20):
        upsert(items, [item(n, rng) for n in range(start, start + 20)])
        for filters in ((EVEN, RARE), (EVEN, RARE), (ODD,), (RARE, ODD, EVEN)):
            masks = lists.masks(filters)
            assert lists.holds(filters, ())
            for given, mask in zip(filters, masks, strict=True):
                assert mask.tolist() == items.attributes.mask(given, len(items)).tolist()
        upsert(items, [item(start, rng)])
        assert not lists.holds((EVEN, RARE), ())


def test_one_change_does_not_make_a_list_anew(monkeypatch):
    """Of a large table all rows are looked at once; after an upsert and a like only those two are."""
    monkeypatch.setattr(rowlists, "BEST", 64)
    rng, items = np.random.default_rng(0), table()
    items.adopt([item(n, rng) for n in range(1000)], np.zeros((1000, D), np.float32))
    items.count([f"i{n}" for n in range(1000)], rng.random(1000).tolist(), [0.0] * 1000)
    lists, looked = RowLists(items), []
    look = rowlists.best_rows
    monkeypatch.setattr(rowlists, "best_rows", lambda *a: looked.append(len(a[2])) or look(*a))
    assert lists.ranked("popular", None, 10).tolist()[:10] == plain(items, "popular", None)[:10]
    assert looked == [1000]
    upsert(items, [item(2000, rng)])
    items.count(["i2000", "i5"], [99.0, 98.0], [1.0, 1.0])
    found = lists.ranked("popular", None, 10).tolist()
    assert found[:10] == plain(items, "popular", None)[:10]
    assert found[:2] == [items.row("i2000"), items.row("i5")]
    assert lists.ranked("popular", EVEN, 10).tolist()[:10] == plain(items, "popular", EVEN)[:10]
    assert looked == [1000]


def test_what_is_kept_is_weighed(monkeypatch):
    """Of a thousand filters that match everything as many are kept as bytes allow, not as many as come; and one that
    is larger than all of it is not kept.
    """
    monkeypatch.setattr(rowlists, "CACHED", 1 << 17)
    rng, items = np.random.default_rng(0), table()
    items.adopt([item(n, rng) for n in range(2000)], np.zeros((2000, D), np.float32))
    lists = RowLists(items)
    for n in range(1000):
        given = Filter(must_not=(Condition("number", "any", (n + 0.5,)),))
        assert lists.count(given) == 2000
        assert len(lists.ranked("popular", given, 10)) >= 10
        assert lists.bytes <= 1 << 17
    assert lists.bytes > 1 << 16
    monkeypatch.setattr(rowlists, "CACHED", 1000)
    small = RowLists(items)
    assert len(small.matches(EVEN)) == 1000
    assert small.bytes == 0


def test_stale_answers_go_at_once():
    """With the first look after a change, all answers of before are dropped, not only the one that is asked for."""
    rng, items = np.random.default_rng(0), table()
    items.adopt([item(n, rng) for n in range(100)], np.zeros((100, D), np.float32))
    lists = RowLists(items)
    for given in FILTERS:
        lists.ranked("popular", given, 10)
    before = lists.bytes
    items.delete(["i1"])
    lists.ranked("popular", EVEN, 10)
    assert lists.bytes < before


def test_a_reader_that_comes_late_is_told_so():
    """Changes are remembered up to a bound; whoever has read less far has to look at everything."""
    journal = Journal()
    journal.add(np.array([3, 4]))
    assert journal.since(0).tolist() == [3, 4]
    assert journal.since(1).tolist() == [4]
    assert journal.since(journal.end).tolist() == []
    late = journal.end
    journal.add(np.arange(KEPT))
    assert journal.end == KEPT + 2
    assert journal.since(late) is None
    journal.add(np.array([9]))
    assert journal.since(KEPT + 2).tolist() == [9]
