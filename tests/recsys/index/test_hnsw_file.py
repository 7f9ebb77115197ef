"""The file of an hnswlib graph is put into the order of its clusters, and its walks take the same steps."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np
import pytest

from recsys.index.clusters import in_clusters
from recsys.index.hnsw_file import put_in_clusters
from tests.support.world import unit_rows

ITEMS, DIMENSION = 1200, 24


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """(n, d) in twelve groups, none of which lies together."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((12, DIMENSION))
    near = centres[rng.integers(12, size=ITEMS)] + 0.3 * rng.standard_normal((ITEMS, DIMENSION))
    return unit_rows(near).astype(np.float32)


def save(path: Path, vectors: np.ndarray) -> None:
    graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
    graph.init_index(max_elements=len(vectors) + 50, ef_construction=60, M=6, random_seed=7)
    graph.add_items(vectors, np.arange(len(vectors)) + 5, num_threads=1)
    graph.mark_deleted(9)
    graph.save_index(str(path))


def load(path: Path) -> hnswlib.Index:
    graph = hnswlib.Index(space="ip", dim=DIMENSION)
    graph.load_index(str(path))
    return graph


def stored(path: Path) -> np.ndarray:
    """(n, d) vectors in the order of the file."""
    data = np.fromfile(path, np.uint8)
    size, at = (int(number) for number in data[24:48].view(np.uint64)[[0, 2]])
    nodes = data[96 : 96 + ITEMS * size].reshape(ITEMS, size)
    return nodes[:, at : at + 4 * DIMENSION].copy().view(np.float32)


def test_walks_give_the_same_answers_with_the_same_scores(tmp_path, vectors):
    """At any effort, with a hidden node, and when more is added afterwards."""
    path = tmp_path / "index.bin"
    save(path, vectors)
    graph, size = load(path), path.stat().st_size
    put_in_clusters(path, DIMENSION, 1)
    ordered = load(path)
    assert path.stat().st_size == size
    assert [file.name for file in tmp_path.iterdir()] == ["index.bin"]
    more = unit_rows(np.random.default_rng(8).standard_normal((40, DIMENSION))).astype(np.float32)
    for _ in range(2):
        for effort in (10, 40, 400):
            graph.set_ef(effort)
            ordered.set_ef(effort)
            for ours, theirs in zip(ordered.knn_query(vectors, 10), graph.knn_query(vectors, 10), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ordered.get_items([5, 700]), graph.get_items([5, 700]))
        for each in (graph, ordered):
            each.add_items(more, np.arange(40) + 9000, num_threads=1)


def test_vectors_that_are_alike_lie_side_by_side(tmp_path, vectors):
    """A vector and the next one are mostly of one group; in the order of arrival they were not."""
    path = tmp_path / "index.bin"
    save(path, vectors)
    before = stored(path)
    put_in_clusters(path, DIMENSION, 1)
    after = stored(path)
    scattered, together = (np.einsum("nd,nd->n", some[1:], some[:-1]).mean() for some in (before, after))
    assert scattered < 0.3 < 0.5 < together
    np.testing.assert_array_equal(np.sort(after, axis=0), np.sort(before, axis=0))


def test_a_file_that_is_not_as_expected_stays_as_it_is(tmp_path, vectors):
    """One of another dimension, one with words too many, and one with too few vectors to part."""
    path = tmp_path / "index.bin"
    save(path, vectors)
    whole = path.read_bytes()
    put_in_clusters(path, DIMENSION + 1, 1)
    assert path.read_bytes() == whole
    path.write_bytes(whole + b"\1\0\0\0")
    put_in_clusters(path, DIMENSION, 1)
    assert path.read_bytes() == whole + b"\1\0\0\0"
    save(path, vectors[:100])
    few = path.read_bytes()
    put_in_clusters(path, DIMENSION, 1)
    assert path.read_bytes() == few


def test_the_same_vectors_have_the_same_order(vectors):
    """Every row stands in it once, and rows of one group follow each other."""
    order = in_clusters(vectors, 1)
    assert order is not None
    assert sorted(order.tolist()) == list(range(ITEMS))
    np.testing.assert_array_equal(in_clusters(vectors, 1), order)
    assert in_clusters(vectors[:200], 1) is None
