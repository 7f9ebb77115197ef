"""The contract of an index engine, run over every engine that recsys/index holds; the exact one is the oracle."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.index.base import NO_ROW, engine
from tests.support.engines import DIAGONAL, DIMENSION, ENGINES, TOLERANCE, make, random_vectors, tuning
from tests.support.world import unit_rows

HELD = {"hnsw_int8": 0.006, "faiss:IVF16,SQ8": 0.006}
"""How far a component that is given back may lie from the vector's: half a step of 1.25 / 127."""


@pytest.fixture(autouse=True)
def what_it_needs(request, open_engine):
    """The server of the engine that the test is about."""
    if "name" in getattr(request.node, "callspec", SimpleNamespace(params=())).params:
        open_engine(request.node.callspec.params["name"])


@pytest.mark.parametrize("name", ENGINES)
class TestEveryEngine:
    def test_the_nearest_comes_first_with_its_inner_product(self, name):
        """Scores are inner products, higher is better, best first."""
        index = make(name)
        index.add(np.arange(DIMENSION), DIAGONAL)
        query = unit_rows(np.array([[3, 2, 1, *[0] * (DIMENSION - 3)]], float))
        rows, scores = index.search(query, 3)
        assert rows.tolist() == [[0, 1, 2]]
        np.testing.assert_allclose(scores, query[:, :3], atol=TOLERANCE.get(name, 1e-6))
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
        """Of the ten truly nearest at least 99 % are found, on one thread or two, with a fifth of the rows removed: of
        rounded vectors among the 50 that a source asks for, where they are the best by the exact vectors.
        """
        k = 50 if name in TOLERANCE else 10
        vectors, queries = random_vectors(1500), random_vectors(100, seed=1)
        oracle, index = make("flat"), make(name)
        for each in (oracle, index):
            each.add(np.arange(1500), vectors)  # on one thread: on two the links differ from run to run
            each.remove(np.arange(0, 1500, 5))
        truth, true_scores = oracle.search(queries, 10)
        for threads in (1, 2):
            index.tune(tuning(name, threads))
            found, scores = index.search(queries, k)
            assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99
            assert (np.diff(scores, axis=1) <= 0).all()
            exact = np.einsum("mkd,md->mk", vectors[found], queries)
            np.testing.assert_allclose(scores, exact, atol=TOLERANCE.get(name, 1e-5))
            np.testing.assert_allclose(-np.sort(-exact, axis=1)[:, 0], true_scores[:, 0], atol=1e-5)

    def test_a_saved_index_is_the_same_one(self, name, tmp_path):
        """Load gives what was saved: rows, scores, length, and what was removed stays removed; and it can grow."""
        spec = IndexSpec.of(name)
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

    def test_vectors_are_given_back_as_they_are_held(self, name, tmp_path):
        """Where the engine says so: within what it rounds, in any order, zeros for a row that was removed; also after
        loading and beside what came later.
        """
        spec = IndexSpec.of(name)
        if not spec.holds_vectors:
            pytest.skip(f"{name} does not give its vectors back")
        index, vectors = make(name), random_vectors(1200)
        index.add(np.arange(1190), vectors[:1190])
        index.save(tmp_path / "index.bin")
        loaded = engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)
        loaded.add(np.arange(1190, 1200), vectors[1190:])
        loaded.remove(np.array([3]))
        rows = np.array([1195, 3, 700, 0, 700])
        held = loaded.vectors(rows)
        expected = vectors[rows] * np.array([1, 0, 1, 1, 1], np.float32)[:, None]
        assert (held.shape, held.dtype) == ((5, DIMENSION), np.float32)
        np.testing.assert_allclose(held, expected, atol=HELD.get(name, 1e-6))
        assert loaded.vectors(rows[:0]).shape == (0, DIMENSION)

    def test_an_empty_index_can_be_saved(self, name, tmp_path):
        """A shard without items has an index file too, and grows after loading."""
        spec = IndexSpec.of(name)
        make(name).save(tmp_path / "index.bin")
        loaded = engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)
        assert len(loaded) == 0
        assert (loaded.search(DIAGONAL[:1], 2)[0] == NO_ROW).all()
        loaded.add(np.arange(20) % DIMENSION + np.repeat([0, 100], [16, 4]), np.vstack([DIAGONAL, DIAGONAL[:4]]))
        assert len(loaded) == 20

    def test_searches_beside_a_writer_stay_right(self, name):
        """While rows come and go, every search finds the 50 that stay, and never one that was removed before it."""
        last = 350
        index, vectors, served = make(name), random_vectors(last), IndexSpec.of(name).server
        index.add(np.arange(50), vectors[:50])
        removed_upto, ended = [50], threading.Event()

        def write() -> None:
            try:
                for start in range(50, last, 50):
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
                many, _ = index.search(vectors[before - 50 + searches % 5 : before : 5], 5)
                assert not ((many >= 50) & (many < before)).any()
                searches += 1
                if served:
                    time.sleep(0.002)  # the writer needs the server, too
            return searches

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            pool.submit(write).result()
            assert all(reader.result() for reader in readers)
        assert len(index) == 50


@pytest.mark.parametrize("name", ENGINES)
class TestReplicas:
    """Replicas of a shard load one file and apply one log."""

    @staticmethod
    def _change(index, vectors) -> None:
        index.tune(ShardTuning())
        for start in range(300, 600, 50):
            rows = np.arange(start, start + 50)
            index.add(rows, vectors[rows])
            index.remove(rows[::3] - 250)

    def test_replicas_answer_alike(self, name, tmp_path):
        """Rows and scores are the same to the bit, also when one of the two was searched between the changes."""
        spec, vectors = IndexSpec.of(name), random_vectors(600)
        built = make(name)
        built.add(np.arange(300), vectors[:300])
        built.remove(np.arange(0, 60, 2))
        built.save(tmp_path / "index.bin")
        one, other = (engine(spec).load(tmp_path / "index.bin", spec, DIMENSION) for _ in range(2))
        for query in vectors[::60]:
            one.search(query[None], 10)
        for each in (one, other):
            self._change(each, vectors)
        assert len(one) == len(other) < 600
        for ours, theirs in zip(one.search(vectors[::5], 20), other.search(vectors[::5], 20), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_two_builds_are_equal(self, name, tmp_path):
        """On one thread the same vectors give the same index."""
        if not IndexSpec.of(name).repeatable:
            pytest.skip("a collection has a name of its own, or the library indexes on several threads")
        for file in ("one", "other"):
            index = make(name)
            index.add(np.arange(400), random_vectors(400))
            index.save(tmp_path / file)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()

    def test_churn_keeps_recall(self, name):
        """Half of the rows go and come again under new numbers, twice over: the nearest are still found."""
        vectors, queries = random_vectors(1500), random_vectors(100, seed=1)
        index, oracle = make(name), make("flat")
        for each in (index, oracle):
            each.add(np.arange(500), vectors[:500])
            for start in range(0, 1000, 250):
                each.remove(np.arange(start, start + 250))
                each.add(np.arange(start + 500, start + 750), vectors[start + 500 : start + 750])
        truth, found = oracle.search(queries, 10)[0], index.search(queries, 50)[0]
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99
