"""The contract of an index engine, run over every engine that recsys/index holds; the exact one is the oracle."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from world import unit_rows

import recsys.index
from recsys.config import IndexSpec, ShardTuning
from recsys.index.base import NO_ROW, best, engine
from recsys.index.flat import FlatIndex

ENGINES = sorted(
    p.stem for p in Path(recsys.index.__file__).parent.glob("*.py") if p.stem not in {"__init__", "base", "locking"}
)
DIMENSION = 16
DIAGONAL = np.eye(DIMENSION, dtype=np.float32)
"""Row i is the unit vector of axis i: the nearest of axis i is i, with score 1; the others score 0."""


def make(name: str):
    spec = IndexSpec(engine=name)
    index = engine(spec).create(spec, DIMENSION)
    index.tune(ShardTuning())
    return index


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    """Clustered, as texts are: 20 centres with noise around them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, DIMENSION))
    return unit_rows(centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, DIMENSION)))


def test_the_engines_of_the_configuration_are_those_of_the_folder():
    """What the config file may name is what there is a module for."""
    assert set(ENGINES) == set(IndexSpec.model_fields["engine"].annotation.__args__)


@pytest.mark.parametrize("name", ENGINES)
class TestEveryEngine:
    def test_the_nearest_comes_first_with_its_inner_product(self, name):
        """Scores are inner products, higher is better, best first."""
        index = make(name)
        index.add(np.arange(DIMENSION), DIAGONAL)
        query = unit_rows(np.array([[3, 2, 1, *[0] * (DIMENSION - 3)]], float))
        rows, scores = index.search(query, 3)
        assert rows.tolist() == [[0, 1, 2]]
        np.testing.assert_allclose(scores, query[:, :3], atol=1e-6)
        assert (rows.dtype, scores.dtype) == (np.int64, np.float32)

    def test_rows_are_the_labels_given(self, name):
        """Labels need not start at 0 nor follow each other."""
        index = make(name)
        index.add(np.array([70, 7, 700]), DIAGONAL[:3])
        rows, _ = index.search(DIAGONAL[:3], 1)
        assert rows[:, 0].tolist() == [70, 7, 700]

    def test_a_k_beyond_the_index_is_padded(self, name):
        """Past the last vector stand NO_ROW and -inf."""
        index = make(name)
        index.add(np.arange(3), DIAGONAL[:3])
        rows, scores = index.search(DIAGONAL[:2], 10)
        assert rows.shape == scores.shape == (2, 10)
        assert set(rows[0, :3].tolist()) == {0, 1, 2}
        assert (rows[:, 3:] == NO_ROW).all()
        assert (scores[:, 3:] == -np.inf).all()
        assert np.isfinite(scores[:, :3]).all()

    def test_an_empty_index_finds_nothing(self, name):
        """All is padding, before anything was added and after everything was removed."""
        index = make(name)
        assert len(index) == 0
        assert (index.search(DIAGONAL[:2], 4)[0] == NO_ROW).all()
        index.add(np.arange(5), DIAGONAL[:5])
        index.remove(np.arange(5))
        assert len(index) == 0
        rows, scores = index.search(DIAGONAL[:2], 4)
        assert (rows == NO_ROW).all()
        assert (scores == -np.inf).all()

    def test_no_queries_give_no_rows(self, name):
        """Zero queries are answered by zero lines."""
        index = make(name)
        index.add(np.arange(3), DIAGONAL[:3])
        assert index.search(np.zeros((0, DIMENSION), np.float32), 2)[0].shape == (0, 2)

    def test_removed_rows_never_come_back(self, name):
        """Neither when more vectors are added, nor when they are removed twice; unknown rows are ignored."""
        index = make(name)
        vectors = random_vectors(600)
        index.add(np.arange(300), vectors[:300])
        gone = np.arange(0, 300, 3)
        index.remove(gone)
        index.remove(gone[:10])
        index.remove(np.array([5000]))
        assert len(index) == 200
        index.add(np.arange(300, 600), vectors[300:])
        assert len(index) == 500
        rows, _ = index.search(vectors[gone], 20)
        assert not np.isin(rows, gone).any()
        assert (rows != NO_ROW).all()

    def test_a_search_for_everything_left_finds_it(self, name):
        """With k = the number of vectors left each of them is returned, even when most were removed."""
        index = make(name)
        vectors = random_vectors(200)
        index.add(np.arange(200), vectors)
        index.remove(np.arange(20, 200))
        rows, _ = index.search(vectors[:5], len(index))
        assert [sorted(line) for line in rows.tolist()] == [list(range(20))] * 5

    def test_recall_against_the_oracle(self, name):
        """Of the ten truly nearest at least 99 % are found, on one thread or two, with a fifth of the rows removed."""
        vectors, queries = random_vectors(3000), random_vectors(200, seed=1)
        oracle, index = FlatIndex(DIMENSION), make(name)
        for each in (oracle, index):
            each.add(np.arange(3000), vectors, 2)
            each.remove(np.arange(0, 3000, 5))
        truth, true_scores = oracle.search(queries, 10)
        for threads in (1, 2):
            index.tune(ShardTuning(threads=threads))
            found, scores = index.search(queries, 10)
            assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99
            assert (np.diff(scores, axis=1) <= 0).all()
            np.testing.assert_allclose(scores[:, 0], true_scores[:, 0], atol=1e-5)

    def test_a_saved_index_is_the_same_one(self, name, tmp_path):
        """Load gives what was saved: rows, scores, length, and what was removed stays removed; and it can grow."""
        spec = IndexSpec(engine=name)
        index, vectors = make(name), random_vectors(400)
        index.add(np.arange(400), vectors)
        index.remove(np.arange(0, 400, 2))
        index.save(tmp_path / "index.bin")
        loaded = engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)
        assert len(loaded) == len(index) == 200
        for k in (10, 200, 400):
            for ours, theirs in zip(loaded.search(vectors[:20], k), index.search(vectors[:20], k), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert (loaded.search(vectors[:3], 200)[0] % 2 == 1).all()
        loaded.remove(np.array([0, 1]))
        assert len(loaded) == 199
        loaded.add(np.array([400]), DIAGONAL[:1])
        assert loaded.search(DIAGONAL[:1], 1)[0].tolist() == [[400]]

    def test_an_empty_index_can_be_saved(self, name, tmp_path):
        """A shard without items has an index file too, and grows after loading."""
        spec = IndexSpec(engine=name)
        make(name).save(tmp_path / "index.bin")
        loaded = engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)
        assert len(loaded) == 0
        assert (loaded.search(DIAGONAL[:1], 2)[0] == NO_ROW).all()
        loaded.add(np.arange(20) % DIMENSION + np.repeat([0, 100], [16, 4]), np.vstack([DIAGONAL, DIAGONAL[:4]]))
        assert len(loaded) == 20

    def test_searches_beside_a_writer_stay_right(self, name):
        """While rows come and go, every search finds the 50 that stay, and never one that was removed before it."""
        index, vectors = make(name), random_vectors(2050)
        index.add(np.arange(50), vectors[:50])
        removed_upto, ended = [50], threading.Event()

        def write() -> None:
            try:
                for start in range(50, 2050, 50):
                    rows = np.arange(start, start + 50)
                    index.add(rows, vectors[rows])
                    index.remove(rows)
                    removed_upto[0] = start + 50
            finally:
                ended.set()

        def read() -> int:
            searches = 0
            while not ended.is_set() or not searches:
                before = removed_upto[0]
                rows, _ = index.search(vectors[:5], 1)
                assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
                many, _ = index.search(vectors[before - 50 : before], 5)
                assert not ((many >= 50) & (many < before)).any()
                searches += 1
            return searches

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            pool.submit(write).result()
            assert all(reader.result() for reader in readers)
        assert len(index) == 50


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
