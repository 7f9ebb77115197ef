"""Rows and strings by compiled code, beside those of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from recsys import gathering
from recsys.columns import StringColumn

pytestmark = pytest.mark.skipif(gathering.GATHERED is None, reason="recsys/gathered.c was not compiled at install")
RNG = np.random.default_rng(5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("width", [(), (1,), (3,), (64,), (100,), (384,)])
def test_rows_are_those_of_numpy(dtype, width):
    """Any number of them, in any order, some of them twice; also of a map that nobody may write."""
    array = RNG.integers(-100, 100, (500, *width)).astype(dtype)
    array.flags.writeable = False
    for count in (0, 1, 3, 50, 2000):
        rows = RNG.integers(0, 500, count)
        taken = gathering.take(array, rows)
        assert taken.dtype == array.dtype
        np.testing.assert_array_equal(taken, array[rows])
    np.testing.assert_array_equal(gathering.take(array[::2], np.array([249, 0])), array[[498, 0]])
    np.testing.assert_array_equal(gathering.take(array, np.arange(10)[::3]), array[:10:3])


def test_strings_are_those_of_numpy(monkeypatch):
    """Empty ones and long ones, none and many."""
    column = StringColumn.of(["", "a", "Ärger", "x" * 1000, "", "end"])
    chosen = [np.array(rows, np.int64) for rows in ([], [0], [5, 3, 3, 2], [4, 0], range(6))]
    compiled = [column.take(rows) for rows in chosen]
    monkeypatch.setattr(gathering, "GATHERED", None)
    for rows, taken in zip(chosen, compiled, strict=True):
        plain = column.take(rows)
        np.testing.assert_array_equal(taken.blob, plain.blob)
        np.testing.assert_array_equal(taken.offsets, plain.offsets)
        assert taken.strings() == [column[row] for row in rows.tolist()]


@pytest.mark.parametrize("row", [-1, 6])
def test_rows_that_are_not_there_are_refused(row):
    """Nothing is read from beside an array."""
    with pytest.raises(IndexError):
        gathering.take(np.zeros((6, 40), np.float32), np.array([0, row]))
    with pytest.raises(IndexError):
        StringColumn.of(["a", "b", "c", "d", "e", "f"]).take(np.array([0, row]))


def test_arrays_that_do_not_fit_are_refused():
    """Offsets that lead out of the strings, and arrays to be filled of another length."""
    blob, rows = np.zeros(4, np.uint8), np.array([0, 1])
    for offsets in ([0, 2, 5], [0, -1, 4], [3, 2, 4]):
        with pytest.raises(ValueError, match="offsets that do not fit"):
            gathering.take_strings(blob, np.array(offsets), rows)
    assert gathering.GATHERED is not None
    with pytest.raises(ValueError, match="one more than"):
        gathering.GATHERED.strings(blob, np.array([0, 1, 2]), rows, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="another number of rows"):
        gathering.GATHERED.rows(np.zeros(6), rows, np.zeros(3, np.uint8))
