"""The file of the graph over int8 codes."""

from __future__ import annotations

import subprocess
import sys
import threading

import faiss
import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.index import int8_codes, int8_links, lent_memory
from recsys.index.base import engine
from tests.support.engines import DIMENSION, make, random_vectors


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
