"""Rows of equal vectors, and the order of equal scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.index.base import NO_ROW, best, engine
from recsys.index.nodes import Nodes, hashed
from tests.support.engines import DIMENSION, make, random_vectors


@pytest.fixture(autouse=True)
def what_it_needs(request, open_engine):
    """The server of the engine that the test is about."""
    if "name" in getattr(request.node, "callspec", SimpleNamespace(params=())).params:
        open_engine(request.node.callspec.params["name"])


def test_best_breaks_ties_by_position():
    """Equal scores go to the smaller position, whatever k; -inf is padding."""
    scores = np.array([[1.0, 2.0, 2.0, -np.inf, 1.0]], np.float32)
    rows = np.array([10, 11, 12, 13, 14])
    assert best(scores, rows, 3)[0].tolist() == [[11, 12, 10]]
    assert best(scores, rows, 5)[0].tolist() == [[11, 12, 10, 14, NO_ROW]]
    assert best(scores, rows, 7)[0].tolist() == [[11, 12, 10, 14, NO_ROW, NO_ROW, NO_ROW]]
    assert best(scores, rows, 0)[0].shape == (1, 0)


def test_best_ties_at_the_cut_are_the_same_everywhere():
    """More equal scores than k: the smaller positions are kept, in every call and for every line."""
    scores = np.zeros((3, 1000), np.float32)
    scores[:, 500] = 1.0
    for k in (2, 5, 100):
        assert best(scores, np.arange(1000), k)[0].tolist() == [[500, *range(k - 1)]] * 3


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_join_one_by_one_stand_as_those_that_come_together(seed):
    """The same nodes, in the same order of their rows, with removals between."""
    rng = np.random.default_rng(seed)
    nodes, exact = rng.integers(0, 5, 60), rng.integers(0, 2, 60).astype(np.uint64)
    single, together = Nodes(), Nodes()
    for made, step in ((single, 1), (together, 20)):
        for at in range(0, 5, min(step, 5)):
            new = slice(at, at + min(step, 5))
            made.create(np.arange(5)[new], np.arange(5, dtype=np.uint64)[new], np.zeros(5, np.uint64)[new])
        for start in range(0, 60, 20):
            back = []
            for at in range(start, start + 20, step):
                part = slice(at, at + step)
                back += made.link(np.arange(60)[part], nodes[part], exact[part]).tolist()
            left = made.unlink(np.arange(start, start + 15))
            made.told = (*getattr(made, "told", ()), sorted(back), sorted(left.tolist()))
    asked = np.arange(5)[None], np.zeros((1, 5), np.float32), 60, 60, 60
    assert np.array_equal(single.spread(*asked)[0], together.spread(*asked)[0])
    assert (single.told, single.rows, single.live) == (together.told, together.rows, together.live)
    assert single.mixed
    hashes = np.array([3, 9, 0], np.uint64)
    for _ in range(2):  # recent, and merged by `state`
        assert together.find(hashes).tolist() == [3, -1, 0]
        assert [int(single.find(hashes[n : n + 1])[0]) for n in range(3)] == [3, -1, 0]
        assert all(np.array_equal(single.state()[name], kept) for name, kept in together.state().items())
    codes = rng.integers(-1, 2, (4, 6)).astype(np.float32) * np.float32(-1)
    assert hashed(codes).tolist() == [hashed(codes[n : n + 1])[0] for n in range(4)]


def test_only_vectors_that_differ_make_an_index_mixed(tmp_path: Path):
    """Also after it was stored: then lines of rows are put in order by exact scores, which costs time."""
    spec = IndexSpec.of("hnsw_int8")
    index = make("hnsw_int8")
    vectors = random_vectors(50)
    index.add(np.arange(50), vectors)
    index.add(np.arange(50, 60), vectors[:10])
    assert not index.mixed
    near = vectors[:1] * np.float32(1 + 1e-6)
    assert not np.array_equal(near, vectors[:1])
    index.add(np.array([60]), near)
    assert index.mixed
    index.save(tmp_path / "index")
    assert engine(spec).load(tmp_path / "index", spec, DIMENSION).mixed
