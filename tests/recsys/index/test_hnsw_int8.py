"""The graph over int8 codes."""

from __future__ import annotations

import subprocess
import sys
import threading

import faiss
import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.errors import VersionError
from recsys.index import int8_codes, int8_links, lent_memory
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


class TestFile:
    """Built from a file of vectors, and searched where the file of the index is mapped."""

    @pytest.mark.parametrize("kind", [np.float32, np.float16])
    @pytest.mark.parametrize("linked", [1 << 20, 250 * DIMENSION])
    def test_a_build_from_a_file_finds_what_one_from_memory_finds(self, tmp_path, monkeypatch, kind, linked):
        """In one call of faiss and in six, with equal vectors among them."""
        monkeypatch.setattr(int8_links, "LINKED", linked)
        monkeypatch.setattr(int8_codes, "READ", 100 * DIMENSION)
        vectors = np.concatenate([random_vectors(1400), random_vectors(1400)[:100]]).astype(kind)
        np.save(tmp_path / "v.npy", vectors)
        index = make("hnsw_int8")
        index.build(np.load(tmp_path / "v.npy", mmap_mode="r"), 1)
        assert (len(index), len(index.graph)) == (1500, 1400)
        wide = vectors.astype(np.float32)
        oracle, queries = make("flat"), random_vectors(50, seed=3)
        oracle.add(np.arange(1500), wide)
        found, truth = index.search(queries, 50)[0], oracle.search(queries, 10)[0]
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.97
        assert {5, 1405} <= set(index.search(wide[5:6], 3)[0][0].tolist())
        np.testing.assert_allclose(index.vectors(np.arange(1500)), wide, atol=0.02)

    def test_nothing_to_build(self):
        index = make("hnsw_int8")
        index.build(np.zeros((0, DIMENSION), np.float32), 1)
        assert len(index) == 0

    def test_a_mapped_index_changes_and_its_file_does_not(self, tmp_path):
        """Hidden, shown, grown, and searched all the while as the one that was saved."""
        spec, path = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin"
        vectors, queries = random_vectors(1200), random_vectors(20, seed=5)
        saved = make("hnsw_int8")
        saved.add(np.arange(1000), vectors[:1000])
        saved.remove(np.arange(30))
        saved.save(path)
        before = path.read_bytes(), path.with_suffix(".nodes").read_bytes()
        loaded = engine(spec).load(path, spec, DIMENSION)
        for index in (saved, loaded):
            index.tune(ShardTuning(ef_search=64))
            index.remove(np.arange(30, 60))
        np.testing.assert_array_equal(saved.search(queries, 20)[0], loaded.search(queries, 20)[0])
        for row in range(1000, 1200):
            for index in (saved, loaded):
                index.add(np.array([row]), vectors[row : row + 1])
        for index in (saved, loaded):
            index.add(np.array([1200]), vectors[10:11])  # a node that was hidden when it was saved
            assert index.search(vectors[10:11], 1)[0].tolist() == [[1200]]
        np.testing.assert_array_equal(saved.search(queries, 20)[0], loaded.search(queries, 20)[0])
        assert (path.read_bytes(), path.with_suffix(".nodes").read_bytes()) == before

    @pytest.mark.parametrize("count", [1, 250, 333])
    def test_codes_begin_with_a_line_of_the_cache(self, tmp_path, count):
        """In the file, and in the memory in which its map grows."""
        spec, path, vectors = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin", random_vectors(400)
        saved = make("hnsw_int8")
        saved.add(np.arange(count), vectors[:count])
        saved.save(path)
        loaded = engine(spec).load(path, spec, DIMENSION)
        for row in range(count, 400):
            codes = faiss.downcast_index(loaded.graph.walked.links.graph.storage).codes
            assert (codes.size(), int(codes.data()) % 64) == (row * DIMENSION, 0)
            loaded.add(np.array([row]), vectors[row : row + 1])

    def test_a_file_of_an_older_release_is_read(self, tmp_path, monkeypatch):
        """It has no zeros before what faiss wrote. What is found is the same, and it grows as a map and as a copy."""
        spec, path, vectors = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin", random_vectors(400)
        saved = make("hnsw_int8")
        saved.add(np.arange(300), vectors[:300])
        saved.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole.lstrip(b"\0"))
        assert 0 < len(whole) - path.stat().st_size < 64
        for lent in (int8_links.lent, lambda *_: None):
            monkeypatch.setattr(int8_links, "lent", lent)
            older = engine(spec).load(path, spec, DIMENSION)
            np.testing.assert_array_equal(older.search(vectors, 20), saved.search(vectors, 20))
            older.add(np.arange(300, 400), vectors[300:])
            assert older.search(vectors[350:351], 1)[0].tolist() == [[350]]

    @pytest.mark.parametrize("room", [1 << 20, 1])
    def test_a_map_that_grows_is_the_graph_that_a_copy_is(self, tmp_path, monkeypatch, room):
        """To the bit, in its room and when that is full, with its file deleted."""
        spec, path, vectors = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin", random_vectors(1000)
        saved = make("hnsw_int8")
        saved.add(np.arange(500), vectors[:500])
        saved.save(path)
        monkeypatch.setattr(lent_memory, "LEAST", room)
        lent = engine(spec).load(path, spec, DIMENSION)
        with monkeypatch.context() as patch:
            patch.setattr(int8_links, "lent", lambda *_: None)  # as where the kernel has no memory for it
            copied = engine(spec).load(path, spec, DIMENSION)
            copied.add(np.array([500]), vectors[500:501])
        lent.add(np.array([500]), vectors[500:501])
        path.unlink()
        for index in (lent, copied):
            for row in range(501, 1000):
                index.add(np.array([row]), vectors[row : row + 1])
            index.save(path.with_name(f"{index is lent}.bin"))
        for ending in ("bin", "nodes"):
            assert (tmp_path / f"True.{ending}").read_bytes() == (tmp_path / f"False.{ending}").read_bytes()

    def test_searches_run_while_a_map_begins_to_grow(self, tmp_path):
        """Each finds what it found before, or what came."""
        spec, path, vectors = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin", random_vectors(700)
        saved = make("hnsw_int8")
        saved.add(np.arange(500), vectors[:500])
        saved.save(path)
        for _ in range(3):
            index, wrong, ended = engine(spec).load(path, spec, DIMENSION), [], threading.Event()

            def searches(index=index, wrong=wrong, ended=ended):
                while not ended.is_set():
                    rows = index.search(vectors[:20], 1)[0][:, 0]
                    wrong.extend(rows[rows != np.arange(20)].tolist())

            threads = [threading.Thread(target=searches) for _ in range(2)]
            for thread in threads:
                thread.start()
            for row in range(500, 700):
                index.add(np.array([row]), vectors[row : row + 1])
            ended.set()
            for thread in threads:
                thread.join()
            assert not wrong
            assert index.search(vectors[500:], 1)[0][:, 0].tolist() == list(range(500, 700))

    def test_a_process_ends_with_a_map_that_grew(self, tmp_path):
        """faiss does not free what it never allocated."""
        path = tmp_path / "index.bin"
        saved = make("hnsw_int8")
        saved.add(np.arange(300), random_vectors(300))
        saved.save(path)
        code = (
            "import sys, numpy as np\n"
            "from pathlib import Path\n"
            "from recsys.config.index import IndexSpec\n"
            "from recsys.index import hnsw_int8\n"
            f"load = lambda: hnsw_int8.load(Path(sys.argv[1]), IndexSpec.of('hnsw_int8'), {DIMENSION})\n"
            "for index in (load(), load()):\n"
            f"    index.add(np.array([300]), np.full((1, {DIMENSION}), 0.25, np.float32))\n"
            "print(len(index))\n"
        )
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "301\n", "")


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
