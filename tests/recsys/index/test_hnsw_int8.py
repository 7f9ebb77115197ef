"""The graph over int8 codes."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.errors import VersionError
from recsys.index.base import engine
from tests.support.engines import DIAGONAL, DIMENSION, make, random_vectors
from tests.support.world import unit_rows


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
        clusters = np.argsort(index.nodes.of_rows(np.arange(3000) + 7)) % 20
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
        mates = np.flatnonzero(index.nodes.of_rows(np.arange(500)) == index.nodes.of_rows(found[:1]))
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

    @pytest.mark.parametrize("damage", ["empty", "other", "header", "short"])
    def test_a_damaged_file_is_refused(self, tmp_path, damage):
        """With the path and the fix, not by a crash of the process. What was changed within, checksums tell."""
        spec, path = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin"
        index = make("hnsw_int8")
        index.add(np.arange(100), random_vectors(100))
        index.save(path)
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "other": b"x" * 1000, "header": whole[:20], "short": whole[:-1]}[damage])
        with pytest.raises(VersionError, match=r"index\.bin is not .*build again"):
            engine(spec).load(path, spec, DIMENSION)

    def test_a_file_of_another_dimension_is_refused(self, tmp_path):
        """It says both."""
        spec, path = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin"
        make("hnsw_int8").save(path)
        with pytest.raises(VersionError, match="dimension 16, and 8 is needed"):
            engine(spec).load(path, spec, 8)


class TestAllowList:
    """Walks that keep allowed nodes alone."""

    def test_only_what_is_allowed_is_found_and_the_nearest_of_it(self):
        """Against exact search over the allowed rows: half and a tenth of them, with rows that were removed since."""
        index, vectors, rng = make("hnsw_int8"), random_vectors(3000), np.random.default_rng(1)
        index.add(np.arange(3000), vectors)
        for share in (0.5, 0.1):
            mask = rng.random(3000) < share
            allowed = index.allowed(mask)
            gone = rng.choice(np.flatnonzero(mask), 20, replace=False)
            index.remove(gone)
            mask[gone] = False
            queries = random_vectors(30, seed=3)
            found, scores = index.search_allowed(queries, 20, 300, allowed)  # more than ten, for scores are rounded
            rows = np.flatnonzero(mask)
            truth = rows[np.argsort(-(queries @ vectors[rows].T), axis=1)[:, :10]]
            assert mask[found].all()
            assert (np.diff(scores, axis=1) <= 0).all()
            assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.97

    def test_a_list_grows_with_the_rows(self):
        """A list that is continued is the one that is made anew, and rows behind it are not allowed yet."""
        index, vectors = make("hnsw_int8"), random_vectors(300)
        index.add(np.arange(100), vectors[:100])
        mask = np.arange(300) % 3 == 0
        before = index.allowed(mask[:100])
        assert before.rows == 100
        for row in range(100, 300):
            index.add(np.array([row]), vectors[row : row + 1])
        query = vectors[210:211]
        assert 210 not in index.search_allowed(query, 5, 100, before)[0]
        after, anew = index.allowed(mask, before), index.allowed(mask)
        assert after.rows == anew.rows == 300
        assert (after.bits == anew.bits).all()
        assert index.search_allowed(query, 5, 100, after)[0][0, 0] == 210

    def test_a_node_is_allowed_for_any_of_its_rows(self):
        """Of many items with the same vector one may match: it is found, and all its equals come with it."""
        index, vectors = make("hnsw_int8"), random_vectors(200)
        vectors[50:90] = vectors[50]
        index.add(np.arange(200), vectors)
        mask = np.zeros(200, bool)
        mask[[77, 120]] = True
        found = index.search_allowed(vectors[50:51], 5, 100, index.allowed(mask))[0]
        assert {77, 120} <= set(found[0].tolist()) <= {*range(50, 90), 120, -1}
