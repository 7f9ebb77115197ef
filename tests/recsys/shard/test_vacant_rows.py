"""Memory of rows that nobody reads any more."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from recsys.columns import Column, Strings
from recsys.shard.vacant_rows import VacantRows

FIRST, ROWS, WIDTH = 100, 6000, 128


def columns():
    """Vectors and texts of 6,000 rows from row 100 on."""
    vectors, texts = Column(np.float32, (WIDTH,)), Strings()
    vectors.extend(np.arange(ROWS, dtype=np.float32)[:, None] + np.ones(WIDTH, np.float32))
    texts.extend([f"the text of row {row} " * 5 for row in range(ROWS)])
    return vectors, texts


def taken(array: np.ndarray) -> int:
    """Bytes of memory that the pages of the array take. Its mapping may hold more than it."""
    first = array.ctypes.data // mmap.PAGESIZE
    pages = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE - first
    with Path("/proc/self/pagemap").open("rb") as file:
        file.seek(8 * first)
        entries = np.frombuffer(file.read(8 * pages), np.uint64)
    return int(np.count_nonzero(entries >> np.uint64(62))) * mmap.PAGESIZE  # in memory, or swapped out


def test_memory_of_vacant_rows_goes_back_and_the_others_stay():
    """All but every thousandth row goes, in any order and some at a time."""
    vectors, texts = columns()
    before = taken(vectors.room)
    vacant, rows = VacantRows(FIRST, [vectors], [texts]), np.arange(ROWS)
    gone = np.random.default_rng(0).permutation(rows[rows % 1000 > 0])
    for some in np.array_split(gone, 100):
        vacant.add(some + FIRST)
    assert before - taken(vectors.room) > 0.9 * ROWS * WIDTH * 4
    stays = rows[rows % 1000 == 0]
    np.testing.assert_array_equal(vectors.view[stays, 0], stays + 1)
    assert texts.take(stays).strings() == [f"the text of row {row} " * 5 for row in stays]
    assert (vectors.view[gone] == 0).all(axis=1).mean() > 0.9
    assert np.count_nonzero(texts.blob.view) < 0.1 * len(texts.blob)


def test_it_goes_back_again_when_a_column_has_moved():
    """A column that is full copies its rows, the vacant ones as well."""
    vectors, texts = columns()
    vacant = VacantRows(FIRST, [vectors], [texts])
    vacant.add(np.arange(5000) + FIRST)
    room = vectors.room
    while vectors.room is room:
        vectors.extend(np.ones((1000, WIDTH), np.float32))
    full = taken(vectors.room)
    vacant.add(np.array([5500]) + FIRST)
    assert full - taken(vectors.room) > 0.9 * 5000 * WIDTH * 4
    assert (vectors.view[5000:5500, 0] == np.arange(5001, 5501)).all()


def test_rows_before_the_first_are_passed_over():
    vectors, texts = columns()
    VacantRows(FIRST, [vectors], [texts]).add(np.arange(FIRST))
    assert (vectors.view[:, 0] == np.arange(1, ROWS + 1)).all()
