"""Parts of files that grow in memory without being copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.columns import Column, with_room
from recsys.index import mapped_arrays, mapped_room
from recsys.index.mapped_arrays import map_arrays, write_arrays


@pytest.fixture
def table(tmp_path: Path, monkeypatch):
    """Of some arrays in one file, (5000, 3) numbers; every array has room."""
    monkeypatch.setattr(mapped_arrays, "ROOMY", 1)
    numbers = np.arange(15_000, dtype=np.float64).reshape(-1, 3)
    write_arrays(tmp_path / "a", {"before": np.arange(100), "table": numbers, "behind": np.arange(9000)})
    return tmp_path / "a", numbers


def adopted(path: Path) -> Column[np.float64]:
    column = Column(np.float64, (3,))
    column.adopt(map_arrays(path)[0]["table"])
    return column


def test_a_mapped_column_grows_where_it_is(table):
    """In its room, then out of it. Changes and earlier views stay, and the file is as it was."""
    path, numbers = table
    before, column = path.read_bytes(), adopted(path)
    first = column.view
    column.view[7] = -1
    expected = numbers.copy()
    expected[7] = -1
    for step in range(60):
        more = np.full((100, 3), float(step))
        place = column.view.ctypes.data
        column.extend(more)
        expected = np.concatenate([expected, more])
        np.testing.assert_array_equal(column.view, expected)
        assert (column.view.ctypes.data == place) == (len(column) <= 10_000 or step != 50)
    assert first.shape == (5000, 3)
    assert path.read_bytes() == before
    np.testing.assert_array_equal(map_arrays(path)[0]["behind"], np.arange(9000))


def test_a_file_may_go_while_it_is_mapped(table):
    """As the files of an old version do: their content stays, and the column grows."""
    path, numbers = table
    column = adopted(path)
    path.unlink()
    column.extend(np.ones((10, 3)))
    np.testing.assert_array_equal(column.view, np.concatenate([numbers, np.ones((10, 3))]))


def test_a_room_has_one_owner(table):
    """A second column over the same array copies it when it grows, and so does one over a part of it."""
    path, numbers = table
    array = map_arrays(path)[0]["table"]
    columns = [Column(np.float64, (3,)) for _ in range(3)]
    for column, values in zip(columns, (array[:50], array, array), strict=True):
        column.adopt(values)
    for number, column in enumerate(columns):
        column.extend(np.full((5, 3), float(number)))
    for number, (column, count) in enumerate(zip(columns, (50, 5000, 5000), strict=True)):
        np.testing.assert_array_equal(column.view, np.concatenate([numbers[:count], np.full((5, 3), float(number))]))
    assert len(with_room(map_arrays(path)[0]["table"])) >= 10_000


def test_where_no_memory_is_promised_columns_are_copied(table, monkeypatch):
    """As on a machine that forbids overcommitment: the values are the same."""
    path, numbers = table
    monkeypatch.setattr(mapped_room, "empty_room", lambda _: None)
    column = adopted(path)
    assert len(with_room(column.view)) == 5000
    column.extend(np.ones((10, 3)))
    np.testing.assert_array_equal(column.view, np.concatenate([numbers, np.ones((10, 3))]))


def test_more_than_there_is_to_address_is_refused():
    """Room is asked for of the kernel, and it may say no."""
    assert mapped_room.empty_room(1 << 60) is None
