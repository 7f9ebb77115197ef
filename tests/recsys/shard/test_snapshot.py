"""A shard's files: what is read from them is what was written, however the items and vectors came."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.datatypes import Condition, Filter, Item
from recsys.errors import VersionError
from recsys.shard import inspection, probes, snapshot, snapshot_columns
from recsys.shard.inspection import inspect, self_lookup
from recsys.shard.item_table import ItemTable
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import read_items, read_shard, write_index, write_rows
from recsys.state.item_log import START_OF_LOG
from tests.support.world import ATTRIBUTES, NOW, catalogue, unit_rows

D = 32
SPEC = IndexSpec.of("hnsw_int8")


class Lazy(Sequence[Item]):
    """Items that are made when they are asked for."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: slice) -> list[Item]:  # type: ignore[override]
        return [dataclasses.replace(item) for item in self._items[place]]


@pytest.fixture
def items() -> list[Item]:
    """With equal ones, hidden ones, bounds in time, a moment of 0, an id that is not ASCII, and one without words."""
    return [
        *catalogue(4),
        Item("equal", catalogue(4)[0].title, catalogue(4)[0].text),
        Item("zero", "Zero", created_at=0.0, available_until=0.0),
        Item("hidden", "Hidden", hidden=True),
        Item("later", "Later", available_from=NOW + 1e9),
        Item("über/ü", "Über", "ä" * 300, {"tags": []}),
        Item("nothing"),
    ]


def vectors_of(items: Sequence[Item]) -> np.ndarray:
    return unit_rows(np.random.default_rng(0).standard_normal((len(items), D))).astype(np.float32)


def written(folder: Path, items: Sequence[Item], vectors: np.ndarray, **how: str) -> Shard:
    write_rows(folder, items, vectors, Sketcher.fit(vectors), **how)
    spec = SPEC.model_copy(update=how)
    write_index(folder, spec, 1)
    return read_shard(folder, "v", spec, ATTRIBUTES, START_OF_LOG)


def test_a_shard_that_was_read_is_the_one_that_was_made(tmp_path, items):
    """Every column, every item, filters and equal items; and so after changes of both."""
    vectors = vectors_of(items)
    read = written(tmp_path / "shard", items, vectors).items
    made = ItemTable(ATTRIBUTES, D, Sketcher.fit(vectors))
    made.adopt(items, vectors)
    for table in (read, made):
        table.set_clock(NOW)
    assert read_items(tmp_path / "shard") == items
    sea = Filter(must=(Condition("topic", "any", ("sea",)),))
    for change in (lambda _: None, lambda table: upsert(table, [Item("new", "Zero"), Item("zero", "Other")])):
        for table in (read, made):
            change(table)
        assert [read.item(row) for row in range(len(read))] == [made.item(row) for row in range(len(made))]
        for name in ("keys", "stored", "alive", "sketches", "slots", "numbers"):
            np.testing.assert_array_equal(getattr(read, name).view, getattr(made, name).view, err_msg=name)
        np.testing.assert_array_equal(read.twins.keys.view, made.twins.keys.view)
        np.testing.assert_array_equal(read.twins.several.view, made.twins.several.view)
        np.testing.assert_array_equal(read.attributes.rows(sea, len(read)), made.attributes.rows(sea, len(made)))
        np.testing.assert_array_equal(read.vectors(np.arange(len(read))), made.vectors(np.arange(len(made))))
        ids = [item.item_id for item in items] + ["new", "ghost"]
        np.testing.assert_array_equal(read.find(ids), made.find(ids))
        assert (read.live, read.shown, read.most_likes) == (made.live, made.shown, made.most_likes)


def upsert(table: ItemTable, items: list[Item]) -> None:
    vectors = vectors_of(items)
    table.reveal(items, table.append(items, vectors))
    table.count(["zero"], [2.0], [1.0])


@pytest.mark.parametrize("originals", ["float32", "float16"])
def test_items_and_vectors_may_come_some_at_a_time(tmp_path, items, originals, monkeypatch):
    """Items that are made when they are asked for, and a map of the vectors, give the same files, byte for byte."""
    monkeypatch.setattr(snapshot_columns, "BLOCK", 7)
    monkeypatch.setattr(snapshot, "BLOCK", 5)
    vectors = vectors_of(items)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    written(tmp_path / "lazy", Lazy(items), mapped, originals=originals)
    monkeypatch.undo()
    written(tmp_path / "whole", items, vectors, originals=originals)
    files = sorted(path.name for path in (tmp_path / "whole").iterdir() if path.name != "items.parquet")
    for name in files:
        assert (tmp_path / "lazy" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert read_items(tmp_path / "lazy") == read_items(tmp_path / "whole") == items


def test_an_empty_shard_can_be_read_and_filled(tmp_path):
    shard = written(tmp_path / "shard", [], np.zeros((0, D), np.float32))
    assert (shard.items.live, len(shard.index)) == (0, 0)
    shard.upsert([Item("a", "A")], vectors_of("a"))
    assert shard.item("a") == Item("a", "A")


def test_columns_of_another_format_are_refused(tmp_path, items, monkeypatch):
    """By name, with what to do."""
    written(tmp_path / "shard", items, vectors_of(items))
    monkeypatch.setattr(snapshot_columns, "FORMAT", snapshot_columns.FORMAT + 1)
    with pytest.raises(VersionError, match=r"columns\.bin is of format .*build again"):
        read_shard(tmp_path / "shard", "v", SPEC, ATTRIBUTES, START_OF_LOG)


def test_of_a_large_shard_some_rows_are_checked(tmp_path, monkeypatch):
    """One whose index is of other vectors is refused by them; one whose index fits is not."""
    for module in (inspection, probes):
        monkeypatch.setattr(module, "POOL", 500)
    items, vectors = [Item(f"i{n}", f"Item {n}") for n in range(2000)], vectors_of(range(2000))
    shard = written(tmp_path / "fits", items, vectors)
    inspect(shard, 2000)
    assert self_lookup(shard, 100, among=np.arange(500)) == 1.0
    other = written(tmp_path / "other", items, vectors[::-1].copy())
    with pytest.raises(VersionError, match="does not fit its vectors"):
        inspect(Shard("v", shard.items, other.index), 2000)
