"""Sums of sparse rows by compiled code are scipy's to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.model import sparse_sums
from recsys.model.neighbour_rows import Likes, Links
from recsys.model.sparse_sums import Weighed

needs_compiled = pytest.mark.skipif(
    sparse_sums.SUMMING is None, reason="recsys/model/summing.c was not compiled at install"
)
ROWS, COLUMNS = 300, 200


def table(columns: int = COLUMNS, filled: float = 0.2) -> sp.csr_array:
    made = sp.random_array(
        (ROWS, columns), density=filled, rng=np.random.default_rng(1), dtype=np.float32, format="csr"
    )
    made.data -= np.float32(0.3)
    return made


def weighed(sizes: list[int], *, seed: int = 2, twice: bool = False) -> Weighed:
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(ROWS, size, replace=False)) for size in sizes]
    if twice:
        rows = [np.sort(np.append(own, own[:1])) for own in rows]
    weights = rng.random(sum(map(len, rows))).astype(np.float32) ** 8  # many are under the least that counts
    return Weighed(np.cumsum([0, *map(len, rows)]), np.concatenate(rows), weights, single=not twice)


def slots_of(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and slots, some of them unknown or asked for twice."""
    rng = np.random.default_rng(3)
    return np.cumsum([0, *counts]), rng.integers(-1, COLUMNS, sum(counts))


@needs_compiled
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("sizes", [[20], [0], [0, 20, 1, 0, 300], [20] * 40])
def test_cells_are_scipys(sizes: list[int], twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one request and for many, with no likes and with all, with items twice, and in one column of several."""
    sizes = [max(size, 1) if twice else size for size in sizes]
    likes, (bounds, slots) = weighed(sizes, twice=twice), slots_of([(7 * n) % 90 for n in range(1, len(sizes) + 1)])

    def cells() -> np.ndarray:
        out = np.full((len(slots), 3), 7, np.float32)
        likes.cells(table(), bounds, slots, out, 1)
        return out

    ours = cells()
    monkeypatch.setattr(sparse_sums, "SUMMING", None)
    np.testing.assert_array_equal(ours, cells())
    assert (ours[:, [0, 2]] == 7).all()
    assert (ours[slots < 0, 1] == 0).all()


@needs_compiled
@pytest.mark.parametrize("sizes", [[20], [0, 20, 1, 0, 300], [20] * 40])
def test_rows_are_scipys(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    likes = weighed(sizes)
    ours = likes.sums(table()), likes.part(0, 1).sums(table())
    monkeypatch.setattr(sparse_sums, "SUMMING", None)
    for compiled, plain in zip(ours, (likes.sums(table()), likes.part(0, 1).sums(table())), strict=True):
        np.testing.assert_array_equal(compiled, plain)
    assert ours[0].any()


def test_a_table_without_columns_gives_nothing() -> None:
    likes, out = weighed([3, 2]), np.ones((2, 1), np.float32)
    likes.cells(table(0), np.array([0, 1, 2]), np.array([-1, -1]), out, 0)
    assert out.tolist() == [[0.0], [0.0]]
    assert likes.sums(table(0)).shape == (2, 0)


@needs_compiled
def test_arrays_that_do_not_fit_are_refused() -> None:
    """And rows that are not there are read nowhere."""
    likes, (bounds, slots) = weighed([5, 5]), slots_of([4, 4])
    out = np.zeros((len(slots), 1), np.float32)
    for wrong in (
        Weighed(likes.offsets, likes.rows + ROWS, likes.weights, single=True),
        Weighed(likes.offsets, likes.rows, likes.weights[1:], single=True),
        Weighed(likes.offsets[:2], likes.rows, likes.weights, single=True),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            wrong.cells(table(), bounds, slots, out, 0)
    with pytest.raises(ValueError, match="do not fit"):
        likes.cells(table(), bounds, slots[1:], out, 0)
    with pytest.raises(ValueError, match="do not fit"):
        likes.cells(table(), bounds, slots, out, 1)


@needs_compiled
@pytest.mark.parametrize("twice", [False, True])
def test_signals_of_a_batch_are_those_of_scipy(twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likes in any order, of items that the version knows and of others; an item once, or more often."""
    rng, sources = np.random.default_rng(5), np.arange(10, 10 + ROWS).astype(np.uint64)
    links = Links(sources, table(), table(filled=0.1))
    trail, offsets = rng.permutation(ROWS + 20)[:60].astype(np.uint64), np.array([0, 20, 20, 60])
    if twice:
        trail[:20] = 40
    bounds, slots = slots_of([50, 3, 60])

    def scores() -> tuple[Likes, Any]:
        likes = links.likes(trail, offsets, rng.random(60).astype(np.float32))
        return likes, links.scores(likes, 4.0, bounds, slots)

    rng = np.random.default_rng(6)
    likes, ours = scores()
    assert 0 < len(likes.at) < 60
    assert likes.single == (not twice)
    rng = np.random.default_rng(6)
    monkeypatch.setattr(sparse_sums, "SUMMING", None)
    np.testing.assert_array_equal(ours, scores()[1])
