"""Nodes whose rows are gone stand for what comes later: an index that is written again and again stays as it is."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.index import int8_links, mended_links
from recsys.index.base import engine
from recsys.index.mended_links import LinkArrays, without_links_to
from tests.support.engines import DIMENSION, make, random_vectors
from tests.support.world import unit_rows

ITEMS = 400


def rewritten(index, vectors: np.ndarray, times: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Let one item after the other have another vector. The rows that are left, and their vectors."""
    rng = np.random.default_rng(seed)
    rows, vectors, first = np.arange(len(vectors)), vectors.copy(), index.nodes.seen
    for row in range(first, first + times):
        item = rng.integers(len(rows))
        vectors[item] = unit_rows(vectors[item : item + 1] + 0.3 * rng.standard_normal((1, vectors.shape[1])))
        index.add(np.array([row]), vectors[item : item + 1])
        index.remove(rows[item : item + 1])
        rows[item] = row
    return rows, vectors


def recall(index, rows: np.ndarray, vectors: np.ndarray) -> float:
    queries = random_vectors(200, seed=9)
    truth, found = rows[np.argsort(-(queries @ vectors.T), axis=1)[:, :10]], index.search(queries, 30)[0]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found.tolist(), strict=True)]))


def test_an_index_that_is_written_again_and_again_does_not_grow():
    """Three times as many writes as there are items: as many nodes, every item is found, and what one finds that was
    built of the same vectors.
    """
    index = make("hnsw_int8")
    index.add(np.arange(ITEMS), random_vectors(ITEMS))
    rows, vectors = rewritten(index, random_vectors(ITEMS), 3 * ITEMS)
    assert len(index) == ITEMS
    assert len(index.graph) <= ITEMS * 33 / 32 + 66
    assert index.search(vectors, 1)[0][:, 0].tolist() == rows.tolist()
    anew = make("hnsw_int8")
    anew.add(rows, vectors)
    assert recall(index, rows, vectors) >= recall(anew, rows, vectors) - 0.005
    np.testing.assert_allclose(index.vectors(rows), vectors, atol=0.02)


def test_no_link_leads_to_a_free_node_and_links_lead_to_all_others():
    index = make("hnsw_int8")
    index.add(np.arange(ITEMS), random_vectors(ITEMS))
    rewritten(index, random_vectors(ITEMS), 200)
    free, graph = index.graph.free, index.graph.walked.links.graph
    assert len(free)
    alone = without_links_to(LinkArrays.of(graph), np.arange(len(index.graph), dtype=np.int32))
    assert set(free) <= set(alone) <= {*free, *index.graph.unreached}


def test_items_that_go_together_leave_nothing_behind():
    """A whole group of alike items goes and another one comes in its place; the others are found as before."""
    rng = np.random.default_rng(2)
    groups = [unit_rows(centre + 0.2 * rng.standard_normal((100, DIMENSION))) for centre in rng.normal(size=(8, 16))]
    vectors = np.concatenate(groups)
    index = make("hnsw_int8")
    index.add(np.arange(600), vectors[:600])
    index.remove(np.arange(200, 300))
    for row in range(600, 800):
        index.add(np.array([row]), vectors[row : row + 1])
    rows = np.setdiff1d(np.arange(800), np.arange(200, 300))
    assert len(index.graph) <= 700
    assert (index.search(vectors[rows], 3)[0] == rows[:, None]).any(axis=1).all()  # rounded, some change places


def test_an_item_that_goes_and_comes_back_has_its_node_again():
    """Also where so many go that their nodes could be freed: nothing is linked anew."""
    index, vectors = make("hnsw_int8"), random_vectors(ITEMS)
    index.add(np.arange(ITEMS), vectors)
    nodes = index.nodes.of_rows(np.arange(ITEMS))
    half = ITEMS // 2
    index.remove(np.arange(half))
    index.add(np.arange(ITEMS, ITEMS + half), vectors[:half])
    assert index.nodes.of_rows(np.arange(ITEMS, ITEMS + half)).tolist() == nodes[:half].tolist()
    assert not len(index.graph.free)


@pytest.mark.skipif(mended_links.MENDING is None, reason="recsys/index/mending.c was not compiled at install")
@pytest.mark.parametrize("seed", [0, 1])
def test_links_are_mended_alike_with_and_without_compiled_code(monkeypatch, seed):
    """To the last link, also on the upper levels and where all neighbours of a node are dead."""
    index, rng = make("hnsw_int8"), np.random.default_rng(seed)
    index.add(np.arange(ITEMS), random_vectors(ITEMS, seed))
    arrays = LinkArrays.of(index.graph.walked.links.graph)
    dead = np.append(rng.random(ITEMS) < 0.3, [False])
    dead[arrays.neighbours(5, 0)], dead[5] = True, False
    nodes, levels = mended_links.leading_to(arrays, dead)
    assert levels.any()
    ours = mended_links.mended(arrays, dead, nodes, levels)
    monkeypatch.setattr(mended_links, "MENDING", None)
    np.testing.assert_array_equal(ours, mended_links.mended(arrays, dead, nodes, levels))
    assert not dead[ours].any()


@pytest.mark.skipif(mended_links.MENDING is None, reason="recsys/index/mending.c was not compiled at install")
def test_mending_refuses_arrays_that_do_not_fit():
    """Nothing outside of them is read."""
    index, mending = make("hnsw_int8"), mended_links.MENDING
    index.add(np.arange(100), random_vectors(100))
    arrays, dead = LinkArrays.of(index.graph.walked.links.graph), np.zeros(101, bool)
    one, lists = np.zeros(1, np.int32), np.zeros((1, 32), np.int32)
    for nodes, levels, room in ((one + 100, one, lists), (one, one + 9, lists), (one - 1, one, lists), (one, one, one)):
        with pytest.raises(ValueError, match="do not fit"):
            mending.mend(arrays.codes, arrays.links, arrays.offsets, arrays.starts, dead, nodes, levels, room)


def test_replicas_come_to_the_same_graph(tmp_path, monkeypatch):
    """To the bit, one that grows out of the map of its file and one that copied it; and the file stays as it is."""
    spec, path = IndexSpec.of("hnsw_int8"), tmp_path / "index.bin"
    saved = make("hnsw_int8")
    saved.add(np.arange(ITEMS), random_vectors(ITEMS))
    saved.save(path)
    before = path.read_bytes()
    for name in ("mapped", "copied"):
        index = engine(spec).load(path, spec, DIMENSION)
        rewritten(index, random_vectors(ITEMS), ITEMS)
        assert len(index.graph) < ITEMS * 33 / 32 + 66
        index.save(tmp_path / f"{name}.bin")
        monkeypatch.setattr(int8_links, "lent", lambda *_: None)  # as where the kernel has no memory for it
    for ending in ("bin", "nodes"):
        assert (tmp_path / f"mapped.{ending}").read_bytes() == (tmp_path / f"copied.{ending}").read_bytes()
    assert path.read_bytes() == before


def test_searches_beside_it_find_what_is_there():
    """Items that nobody writes are found by their own vectors all the while."""
    index, vectors = make("hnsw_int8"), random_vectors(2 * ITEMS)
    index.add(np.arange(2 * ITEMS), vectors)
    wrong, ended = [], threading.Event()

    def searches():
        while not ended.is_set():
            found = index.search(vectors[:50], 1)[0][:, 0]
            wrong.extend(found[found != np.arange(50)].tolist())

    thread = threading.Thread(target=searches)
    thread.start()
    for row in range(2 * ITEMS, 3 * ITEMS):
        index.add(np.array([row]), unit_rows(-vectors[row - ITEMS : row - ITEMS + 1]))
        index.remove(np.array([row - ITEMS]))
    ended.set()
    thread.join()
    assert not wrong
    assert len(index.graph) <= 2 * ITEMS * 33 / 32 + 66


def test_nodes_are_freed_in_small_steps():
    """While a step is made no search runs, so each changes the links of few nodes."""
    index = make("hnsw_int8")
    index.add(np.arange(3000), random_vectors(3000))
    index.remove(np.arange(1500))
    arrays = LinkArrays.of(index.graph.walked.links.graph)
    dead, changed = index.nodes.empty, []
    for step in index.graph.mend(dead):
        before = arrays.links.copy()
        step()
        places = np.flatnonzero(arrays.links != before)
        changed.append(len(np.unique(np.searchsorted(arrays.offsets, places, side="right"))))
    assert max(changed) <= 512
    assert sum(changed) > 2000
    freed = index.graph.release(dead)
    assert set(without_links_to(arrays, np.arange(3000))) <= {*freed, *index.graph.unreached}
