"""Rows by id, in arrays for what a snapshot brings and a dictionary for what changed since."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.columns import Strings
from recsys.datatypes import item_keys
from recsys.index.base import NO_ROW
from recsys.shard.rows_by_id import RowsById


def adopted(ids: list[str]) -> tuple[Strings, RowsById]:
    column = Strings()
    column.extend(ids)
    rows = RowsById(column)
    rows.adopt(item_keys(ids))
    return column, rows


def test_it_says_what_a_dictionary_would_say():
    """Through random changes, asked one by one and all at once."""
    rng = np.random.default_rng(0)
    names = [f"i{n}" for n in range(300)]
    column, rows = adopted(names[:200])
    expected = {name: row for row, name in enumerate(names[:200])}
    for _ in range(200):
        some = [names[n] for n in rng.integers(0, 300, 3)]
        if rng.random() < 0.5:
            start = len(column)
            column.extend(some)
            moved = {name: start + n for n, name in enumerate(some)}
            rows.update(moved)
            expected |= moved
        else:
            for name in some:
                rows.remove(name)
                expected.pop(name, None)
        assert len(rows) == len(expected)
    assert [rows.get(name) for name in names] == [expected.get(name) for name in names]
    assert rows.find(names).tolist() == [expected.get(name, NO_ROW) for name in names]
    assert rows.find(names, item_keys(names)).tolist() == rows.find(names).tolist()
    assert rows.find([]).tolist() == []


def test_of_equal_ids_in_a_snapshot_the_last_counts():
    _, rows = adopted(["a", "b", "a", "c"])
    assert len(rows) == 3
    assert rows.find(["a", "b", "c"]).tolist() == [2, 1, 3]


def test_ids_that_share_a_key_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    """Those of the snapshot, and one that is not there and has the key of one that is."""
    keys = {"a": 5, "b": 5, "c": 7, "d": 7}
    monkeypatch.setattr("recsys.shard.rows_by_id.item_key", keys.__getitem__)
    monkeypatch.setattr("recsys.shard.rows_by_id.item_keys", lambda ids: np.array([keys[i] for i in ids], np.uint64))
    column = Strings()
    column.extend(["a", "b", "c"])
    rows = RowsById(column)
    rows.adopt(np.array([5, 5, 7], np.uint64))
    assert [rows.get(name) for name in "abcd"] == [0, 1, 2, None]
    assert rows.find(["d", "b", "a", "c"]).tolist() == [NO_ROW, 1, 0, 2]


def test_nothing_is_in_an_empty_shard():
    _, rows = adopted([])
    assert rows.get("a") is None
    assert rows.find(["a", "b"]).tolist() == [NO_ROW, NO_ROW]
    rows.remove("a")
    assert len(rows) == 0
