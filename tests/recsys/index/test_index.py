"""The contract of an index engine, run over every engine that recsys/index holds; the exact one is the oracle."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recsys.config.index import IndexSpec, engine_names
from recsys.config.tuning import ShardTuning
from recsys.errors import VersionError
from recsys.index.base import NO_ROW, best, engine
from recsys.index.nodes import Nodes
from tests.support.world import unit_rows

KINDS = ["faiss:IVF16,Flat", "faiss:IVF16,SQ8", "faiss:OPQ8_16,IVF16,PQ8x4,RFlat", "faiss:NSG16"]
"""Of factory strings: lists, rounded lists, product quantisation refined by exact vectors, a graph that cannot grow."""
ENGINES = [*engine_names(), *KINDS]
DIMENSION = 16
DIAGONAL = np.eye(DIMENSION, dtype=np.float32)
"""Row i is the unit vector of axis i: the nearest of axis i is i, with score 1; the others score 0."""
TOLERANCE = {"hnsw_int8": 0.015, "faiss:IVF16,SQ8": 0.015}
"""How far a score may lie from the inner product, where an engine rounds: 16 components, each off by half a step of
1.25 / 127 at the most and by a third of that on average."""

HELD = {"hnsw_int8": 0.006, "faiss:IVF16,SQ8": 0.006}
"""How far a component that is given back may lie from the vector's: half a step of 1.25 / 127."""

EFFORT = {"faiss:NSG16": 1000, "milvus": 256, "pgvector": 256, "qdrant": 256}
"""`ef_search` where the default finds under 99 % of these vectors, or does in some builds: not all are repeatable."""


@pytest.fixture(autouse=True)
def what_it_needs(request, open_engine):
    """The server of the engine that the test is about."""
    if "name" in getattr(request.node, "callspec", SimpleNamespace(params=())).params:
        open_engine(request.node.callspec.params["name"])


def make(name: str, dimension: int = DIMENSION):
    spec = IndexSpec.of(name)
    index = engine(spec).create(spec, dimension)
    index.tune(tuning(name))
    return index


def tuning(name: str, threads: int = 1) -> ShardTuning:
    return ShardTuning(threads=threads, ef_search=EFFORT.get(name, 64))


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    """Clustered, as texts are: 20 centres with noise around them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, DIMENSION))
    return unit_rows(centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, DIMENSION)))


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
        vectors, queries = random_vectors(3000), random_vectors(200, seed=1)
        oracle, index = make("flat"), make(name)
        for each in (oracle, index):
            each.add(np.arange(3000), vectors)  # on one thread: on two the links differ from run to run
            each.remove(np.arange(0, 3000, 5))
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


@pytest.mark.parametrize("name", ENGINES)
class TestReplicas:
    """Replicas of a shard load one file and apply one log."""

    @staticmethod
    def _change(index, vectors) -> None:
        index.tune(ShardTuning())
        for start in range(500, 1000, 50):
            rows = np.arange(start, start + 50)
            index.add(rows, vectors[rows])
            index.remove(rows[::3] - 400)

    def test_replicas_answer_alike(self, name, tmp_path):
        """Rows and scores are the same to the bit, also when one of the two was searched between the changes."""
        spec, vectors = IndexSpec.of(name), random_vectors(1000)
        built = make(name)
        built.add(np.arange(500), vectors[:500])
        built.remove(np.arange(0, 60, 2))
        built.save(tmp_path / "index.bin")
        one, other = (engine(spec).load(tmp_path / "index.bin", spec, DIMENSION) for _ in range(2))
        for query in vectors[::100]:
            one.search(query[None], 10)
        for each in (one, other):
            self._change(each, vectors)
        assert len(one) == len(other) < 1000
        for ours, theirs in zip(one.search(vectors, 20), other.search(vectors, 20), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_two_builds_are_equal(self, name, tmp_path):
        """On one thread the same vectors give the same index."""
        if not IndexSpec.of(name).repeatable:
            pytest.skip("a collection has a name of its own, or the library indexes on several threads")
        for file in ("one", "other"):
            index = make(name)
            index.add(np.arange(1000), random_vectors(1000))
            index.save(tmp_path / file)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()

    def test_churn_keeps_recall(self, name):
        """Half of the rows go and come again under new numbers, twice over: the nearest are still found."""
        vectors, queries = random_vectors(3000), random_vectors(100, seed=1)
        index, oracle = make(name), make("flat")
        for each in (index, oracle):
            each.add(np.arange(1000), vectors[:1000])
            for start in range(0, 2000, 500):
                each.remove(np.arange(start, start + 500))
                each.add(np.arange(start + 1000, start + 1500), vectors[start + 1000 : start + 1500])
        truth, found = oracle.search(queries, 10)[0], index.search(queries, 50)[0]
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99


def with_equal(n: int = 2000, distinct: int = 64, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of n rows that are equal and of some that are not, mixed; and the rows of these."""
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([np.repeat(random_vectors(1, 9), n, 0), random_vectors(distinct, 5)])
    order = rng.permutation(len(vectors))
    return vectors[order], np.flatnonzero(order >= n)


@pytest.mark.parametrize("name", ENGINES)
class TestEqualVectors:
    """Many items with one text: equal vectors are one node, and every row is found all the same."""

    def test_they_hide_nothing(self, name):
        """Beside 2,000 equal ones each of 64 others is found first by its own vector, and among what is near."""
        vectors, others = with_equal()
        index = make(name)
        index.add(np.arange(len(vectors)), vectors, 2)
        assert (len(index), len(index.graph)) == (2064, 65)
        rows, _ = index.search(vectors[others], 1)
        assert rows[:, 0].tolist() == others.tolist()
        equal = int(np.setdiff1d(np.arange(2064), others)[0])
        rows, scores = index.search(vectors[[equal]], 65)
        assert set(others) <= set(rows[0].tolist())
        assert (rows[0] >= 0).sum() == 65 + 64  # the 65 best, and behind them one row each of the others
        assert (np.diff(scores[0][rows[0] >= 0]) <= 0).all()

    def test_all_of_them_are_found(self, name):
        """A search for as many as there are returns each once, wherever the node stands in the order."""
        vectors, others = with_equal(300, 20)
        index = make(name)
        index.add(np.arange(320), vectors)
        for query in vectors[others[:3]]:
            rows, _ = index.search(query[None], 320)
            assert sorted(rows[0, :320].tolist()) == list(range(320))

    def test_they_cost_no_memory_in_the_graph(self, name, tmp_path):
        """The graph's file of 2,000 equal rows is that of one."""
        vectors, others = with_equal(2000, 20)
        equal = np.setdiff1d(np.arange(2020), others)
        sizes = []
        for count in (1, 2000):
            index = make(name)
            index.add(np.arange(count), vectors[equal[:count]])
            index.save(tmp_path / "index.bin")
            sizes.append((tmp_path / "index.bin").stat().st_size)
        assert sizes[0] == sizes[1]

    def test_some_of_them_go_and_come_again(self, name):
        """Those that went are not found, those that stay are; a node without rows is not found, and an equal vector
        brings it back.
        """
        vectors, others = with_equal(50, 20)
        equal = np.setdiff1d(np.arange(70), others)
        index = make(name)
        index.add(np.arange(70), vectors)
        for gone in (equal[:1], equal[20:40], equal[-1:]):
            index.remove(gone)
            index.remove(gone)
        rows, _ = index.search(vectors[equal[:1]], 48)
        assert set(rows[0, :28].tolist()) == set(equal[1:20]) | set(equal[40:-1])
        assert len(index) == 48
        index.remove(equal)
        assert len(index) == 20
        rows, _ = index.search(vectors[equal[:1]], 30)
        assert set(rows[0].tolist()) == set(others) | {NO_ROW}
        nodes = len(index.graph)
        index.add(np.array([100, 101]), vectors[equal[:2]])
        assert len(index.graph) == nodes
        assert set(index.search(vectors[equal[:1]], 2)[0][0, :2].tolist()) == {100, 101}

    def test_zeros_are_equal_whatever_their_sign(self, name):
        """-0.0 is 0.0."""
        index = make(name)
        index.add(np.arange(2), np.vstack([DIAGONAL[:1], -1 * (-DIAGONAL[:1])]))
        assert len(index.graph) == 1

    def test_they_are_the_same_after_loading(self, name, tmp_path):
        """Rows, order and what was removed; and both go on alike, to the bit, in whatever pieces changes come."""
        spec = IndexSpec.of(name)
        vectors, _ = with_equal(300, 100)
        built = make(name)
        built.add(np.arange(200), vectors[:200])
        built.remove(np.arange(0, 100, 3))
        built.save(tmp_path / "index.bin")
        one, other = (engine(spec).load(tmp_path / "index.bin", spec, DIMENSION) for _ in range(2))
        np.testing.assert_array_equal(one.search(vectors, 50)[0], built.search(vectors, 50)[0])
        for step in range(200, 400):
            one.add(np.array([step]), vectors[[step]])
        for each in (one,):
            each.remove(np.arange(150, 250))
        for step in range(200, 400):
            other.add(np.array([step]), vectors[[step]])
            other.search(vectors[:3], 7)
        for row in range(150, 250):
            other.remove(np.array([row]))
        for k in (3, 100, 400):
            for ours, theirs in zip(one.search(vectors, k), other.search(vectors, k), strict=True):
                np.testing.assert_array_equal(ours, theirs)

    def test_against_a_plain_reading(self, name):
        """After adding and removing at random, with most vectors several times: the k best scores are the true ones."""
        rng = np.random.default_rng(8)
        kinds = random_vectors(60)
        index, held, row = make(name), {}, 0
        for _ in range(40):
            added = rng.integers(0, 60, rng.integers(1, 30))
            rows = np.arange(row, row + len(added))
            row += len(added)
            index.add(rows, kinds[added])
            held |= dict(zip(rows.tolist(), added.tolist(), strict=True))
            gone = rng.choice(list(held), len(held) // 3, replace=False)
            index.remove(gone)
            held = {r: kind for r, kind in held.items() if r not in set(gone.tolist())}
            assert len(index) == len(held)
        queries = random_vectors(20, seed=4)
        rows, scores = index.search(queries, 30)
        assert (rows[:, :30] >= 0).all()
        for line, query in zip(rows, queries, strict=True):
            found = line[line >= 0].tolist()
            assert len(set(found)) == len(found)
            exact = np.array([kinds[held[r]] @ query for r in found])
            truth = -np.sort([-kinds[kind] @ query for kind in held.values()])[:30]
            np.testing.assert_allclose(np.sort(exact)[::-1][:30], truth, atol=TOLERANCE.get(name, 1e-6))
        assert scores.shape == rows.shape

    def test_an_index_of_an_older_release_is_refused(self, name, tmp_path):
        """Where nothing says which rows a node stands for, in words that say what to do."""
        spec, path = IndexSpec.of(name), tmp_path / "index.bin"
        index = make(name)
        index.add(np.arange(10), random_vectors(10))
        index.save(path)
        (tmp_path / "index.npz").unlink()
        with pytest.raises(VersionError, match=r"index\.bin is of an older release.*build"):
            engine(spec).load(path, spec, DIMENSION)
        (tmp_path / "index.npz").write_bytes(b"x" * 100)
        with pytest.raises(VersionError, match=r"index\.npz cannot be read"):
            engine(spec).load(path, spec, DIMENSION)


class TestInt8:
    """What only the engine of rounded vectors can get wrong."""

    @pytest.mark.parametrize("dimension", [8, 31, 32, 64, 100, 128, 384, 768])
    def test_every_dimension(self, dimension):
        """faiss has other code for other lengths, some of it on bytes only: recall and scores are right in each."""
        rng = np.random.default_rng(0)
        vectors, queries = (unit_rows(rng.standard_normal((n, dimension))) for n in (400, 50))
        index, oracle = make("hnsw_int8", dimension), make("flat", dimension)
        for each in (index, oracle):
            each.add(np.arange(400), vectors)
        truth, (found, scores) = oracle.search(queries, 10)[0], index.search(queries, 50)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99
        np.testing.assert_allclose(scores, np.einsum("mkd,md->mk", vectors[found], queries), atol=0.015)

    def test_what_is_alike_lies_side_by_side_and_rows_keep_their_vectors(self):
        """Of twenty clusters given in turn, neighbours in the index are mostly of one; searches give rows as before."""
        rng = np.random.default_rng(4)
        centres = rng.normal(size=(20, 32))
        vectors = unit_rows(np.tile(centres, (150, 1)) + 0.2 * rng.normal(size=(3000, 32)))
        spec = IndexSpec.of("hnsw_int8")
        index = engine(spec).create(spec, 32)
        index.add(np.arange(3000) + 7, vectors, threads=2)
        found, _ = index.search(vectors, 1)
        assert (found[:, 0] == np.arange(3000) + 7).mean() > 0.99
        nodes = index.nodes.state()
        clusters = nodes["rows"][np.argsort(nodes["nodes"])] % 20
        assert (clusters[1:] == clusters[:-1]).mean() > 0.5  # as they were given, and by chance, hardly any
        index.add(np.array([5000]), -vectors[:1])
        assert index.search(-vectors[:1], 1)[0].tolist() == [[5000]]

    def test_components_larger_than_the_first_are_clipped(self):
        """They do not wrap around to the other sign: the vector is still found, nearest to itself."""
        index = make("hnsw_int8")
        index.add(np.array([0]), unit_rows(np.ones((1, DIMENSION))))  # components of 0.25
        index.add(np.array([1, 2]), np.vstack([DIAGONAL[3], -DIAGONAL[3]]))
        rows, scores = index.search(np.vstack([DIAGONAL[3], -DIAGONAL[3]]), 3)
        assert rows.tolist() == [[1, 0, 2], [2, 0, 1]]
        assert (scores[:, 0] > 0).all()
        assert (scores[:, 2] < 0).all()

    def test_vectors_alike_after_rounding_are_one_node(self):
        """All of them come back, for whoever asks to order by their exact scores."""
        rng = np.random.default_rng(2)
        alike = unit_rows(random_vectors(1) + 1e-5 * rng.standard_normal((100, DIMENSION)))
        index = make("hnsw_int8")
        index.add(np.arange(500), np.concatenate([random_vectors(400, 1), alike]))
        assert len(index.graph) < 460
        rows, _ = index.search(alike[:1], 10)
        found = rows[0][rows[0] >= 0]
        assert set(range(400, 500)) & set(found.tolist())
        nodes = index.nodes.state()
        mates = nodes["rows"][nodes["nodes"] == nodes["nodes"][nodes["rows"] == found[0]]]
        assert set(mates.tolist()) <= set(found.tolist())
        index.remove(mates[1:])
        assert mates[0] in index.search(alike[:1], 1)[0][0]

    def test_hiding_and_showing_among_many(self):
        """Bits of nodes that come and go, past every size of the bitmap: what is found is what is there."""
        index, vectors, rng = make("hnsw_int8"), random_vectors(700), np.random.default_rng(0)
        there: set[int] = set()
        for start in range(0, 700, 50):
            index.add(np.arange(start, start + 50), vectors[start : start + 50])
            there |= set(range(start, start + 50))
            gone = rng.choice(sorted(there), 30, replace=False)
            index.remove(gone)
            there -= set(gone.tolist())
            back = gone[:10]
            index.add(back, vectors[back])
            there |= set(back.tolist())
            rows, _ = index.search(vectors[:2], len(there))
            assert set(rows[0].tolist()) == there

    def test_vectors_of_nothing(self):
        """Zeros give no scale to divide by; they are indexed, score 0, and what comes after them is right."""
        index = make("hnsw_int8")
        index.add(np.array([0]), np.zeros((1, DIMENSION), np.float32))
        index.add(np.array([1]), DIAGONAL[:1])
        rows, scores = index.search(DIAGONAL[:1], 2)
        assert rows.tolist() == [[1, 0]]
        np.testing.assert_allclose(scores, [[1, 0]], atol=0.015)

    @pytest.mark.parametrize("damage", ["empty", "other", "header", "short", "body"])
    def test_a_damaged_file_is_refused(self, tmp_path, damage):
        """With the path and the fix, not by a crash of the process."""
        spec, path = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin"
        index = make("hnsw_int8")
        index.add(np.arange(100), random_vectors(100))
        index.save(path)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes(
            {"empty": b"", "other": b"x" * 1000, "header": whole[:20], "short": whole[:-1], "body": bytes(flipped)}[
                damage
            ]
        )
        with pytest.raises(VersionError, match=r"index\.bin is not .*build again"):
            engine(spec).load(path, spec, DIMENSION)

    def test_a_file_of_another_dimension_is_refused(self, tmp_path):
        """It says both."""
        spec, path = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin"
        make("hnsw_int8").save(path)
        with pytest.raises(VersionError, match="dimension 16, and 8 is needed"):
            engine(spec).load(path, spec, 8)


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
        made.create(np.arange(5), np.arange(5, dtype=np.uint64), np.zeros(5, np.uint64))
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
    assert all(np.array_equal(single.state()[name], kept) for name, kept in together.state().items())


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
