"""Equal vectors in an index: they hide nothing, are all found, and cost no memory in the graph."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.errors import VersionError
from recsys.index.base import NO_ROW, engine
from tests.support.engines import DIAGONAL, DIMENSION, ENGINES, TOLERANCE, make, random_vectors


@pytest.fixture(autouse=True)
def what_it_needs(request, open_engine):
    """The server of the engine that the test is about."""
    if "name" in getattr(request.node, "callspec", SimpleNamespace(params=())).params:
        open_engine(request.node.callspec.params["name"])


def with_equal(n: int = 1000, distinct: int = 64, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of n rows that are equal and of some that are not, mixed; and the rows of these."""
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([np.repeat(random_vectors(1, 9), n, 0), random_vectors(distinct, 5)])
    order = rng.permutation(len(vectors))
    return vectors[order], np.flatnonzero(order >= n)


@pytest.mark.parametrize("name", ENGINES)
class TestEqualVectors:
    """Many items with one text: equal vectors are one node, and every row is found all the same."""

    def test_they_hide_nothing(self, name):
        """Beside 1,000 equal ones each of 64 others is found first by its own vector, and among what is near."""
        vectors, others = with_equal()
        index = make(name)
        index.add(np.arange(len(vectors)), vectors, 2)
        assert (len(index), len(index.graph)) == (1064, 65)
        rows, _ = index.search(vectors[others], 1)
        assert rows[:, 0].tolist() == others.tolist()
        equal = int(np.setdiff1d(np.arange(1064), others)[0])
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
        n = 60 if spec.server else 120  # each change is a call to the server
        vectors, _ = with_equal(n * 3 // 4, n // 4)
        built = make(name)
        built.add(np.arange(n // 2), vectors[: n // 2])
        built.remove(np.arange(0, n // 4, 3))
        built.save(tmp_path / "index.bin")
        one, other = (engine(spec).load(tmp_path / "index.bin", spec, DIMENSION) for _ in range(2))
        np.testing.assert_array_equal(one.search(vectors, 50)[0], built.search(vectors, 50)[0])
        gone = np.arange(n * 3 // 8, n * 5 // 8)
        for step in range(n // 2, n):
            one.add(np.array([step]), vectors[[step]])
        one.remove(gone)
        for step in range(n // 2, n):
            other.add(np.array([step]), vectors[[step]])
            other.search(vectors[:3], 7)
        for row in gone:
            other.remove(np.array([row]))
        for k in (3, n // 4, n):
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
        (tmp_path / "index.nodes").unlink()
        with pytest.raises(VersionError, match=r"index\.bin is of an older release.*build"):
            engine(spec).load(path, spec, DIMENSION)
        (tmp_path / "index.nodes").write_bytes(b"x" * 100)
        with pytest.raises(VersionError, match=r"index\.nodes cannot be read"):
            engine(spec).load(path, spec, DIMENSION)
