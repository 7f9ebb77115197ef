"""Walks by compiled code, beside those of faiss."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import faiss
import numpy as np
import pytest

from recsys.config.tuning import ShardTuning
from recsys.index import hnsw_int8, int8_graph
from recsys.index.int8_codes import Rounding
from recsys.index.walks import AVX2, PLAIN, VNNI, WALKING, Walks
from tests.support.engines import make
from tests.support.world import unit_rows

pytestmark = pytest.mark.skipif(WALKING is None, reason="recsys/index/walking.c was not compiled at install")


def graph_of(codes, m=16):
    graph = faiss.IndexHNSWSQ(
        codes.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, m, faiss.METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = 60
    faiss.omp_set_num_threads(1)
    graph.add(codes)
    return graph


@cache
def graph_of_1000(dimension):
    """For tests that change nothing of it."""
    return graph_of(codes_of(1000, dimension, 1))


def codes_of(n, dimension, seed, largest=127):
    return np.random.default_rng(seed).integers(-largest, largest + 1, (n, dimension)).astype(np.float32)


def assert_as_faiss(graph, queries, k, ef, bits=None, instructions=VNNI, threads=1):
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    how = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
    products, nodes = graph.search(queries, k, params=how)
    ours = Walks(WALKING, faiss, graph).search(queries, k, ef, threads, bits, instructions)
    there = nodes >= 0  # for what is missing faiss gives other products
    assert ours[2] == np.count_nonzero(~there)
    np.testing.assert_array_equal(ours[1], nodes)
    np.testing.assert_array_equal(ours[0][there], products[there])


@pytest.mark.parametrize("instructions", [PLAIN, AVX2, VNNI])
@pytest.mark.parametrize("dimension", [1, 8, 31, 64, 100, 128, 200, 384])
def test_a_walk_is_that_of_faiss(dimension, instructions):
    """Nodes and products are the same to the bit, whatever the length of vectors and the processor."""
    graph, queries = graph_of_1000(dimension), codes_of(40, dimension, 2)
    for k, ef in ((1, 1), (10, 30), (50, 50), (7, 300)):
        assert_as_faiss(graph, queries, k, ef, instructions=instructions)


@pytest.mark.parametrize("m", [4, 16, 32])
def test_equal_products_come_in_the_order_of_faiss(m):
    """Of vectors of a few small numbers most have equal products."""
    graph, queries = graph_of(np.unique(codes_of(3000, 6, 3, largest=2), axis=0), m), codes_of(100, 6, 4, largest=2)
    for k, ef in ((10, 10), (20, 64)):
        assert_as_faiss(graph, queries, k, ef)


def test_of_nodes_without_a_bit_none_is_given():
    """A walk leads over them as that of faiss does; bits may be fewer than nodes."""
    graph, queries = graph_of(codes_of(2000, 32, 5)), codes_of(30, 32, 6)
    bits = np.random.default_rng(7).integers(0, 256, 250).astype(np.uint8)
    for some in (bits, bits[:100], np.zeros(250, np.uint8)):
        assert_as_faiss(graph, queries, 20, 60, bits=some)


def test_several_threads_share_a_batch():
    """Each answers some of the queries; there may be more threads than queries."""
    graph, queries = graph_of(codes_of(2000, 32, 8)), codes_of(9, 32, 9)
    for threads in (2, 3, 64):
        assert_as_faiss(graph, queries, 10, 40, threads=threads)


def test_walks_at_the_same_time_do_not_meet():
    """Each has its own table of the nodes that it has seen, of which there are fewer than walks here."""
    graph, queries = graph_of(codes_of(2000, 32, 10)), codes_of(300, 32, 11)
    ours = Walks(WALKING, faiss, graph)
    alone = ours.search(queries, 10, 40, 1, None)
    with ThreadPoolExecutor(24) as threads:
        for products, nodes, _ in threads.map(lambda _: ours.search(queries, 10, 40, 1, None), range(48)):
            np.testing.assert_array_equal(nodes, alone[1])
            np.testing.assert_array_equal(products, alone[0])


def test_more_walks_than_a_mark_can_count():
    """Tables mark a node by the number of the walk, a byte: the 256th walk begins with a clean one."""
    graph, queries = graph_of(codes_of(800, 16, 12)), codes_of(700, 16, 13)
    assert_as_faiss(graph, queries, 10, 20)


def test_a_smaller_effort_than_neighbours():
    """All that are asked for are given, best first, and nearly all of the nearest few are right."""
    rng = np.random.default_rng(14)
    centres = rng.normal(size=(30, 48))
    codes = np.rint(40 * unit_rows(centres[rng.integers(30, size=4000)] + 0.6 * rng.normal(size=(4000, 48))) * 3)
    graph, queries = graph_of(codes.astype(np.float32)), codes[:200].astype(np.float32)
    products, nodes, _ = Walks(WALKING, faiss, graph).search(queries, 50, 24, 1, None)
    assert (nodes >= 0).all()
    assert (np.diff(products, axis=1) <= 0).all()
    exact = np.sort(queries @ codes.T.astype(np.float32), axis=1)[:, ::-1]
    assert (products[:, :10] >= exact[:, 9:10]).mean() > 0.95
    np.testing.assert_array_equal(products, np.einsum("mkd,md->mk", codes[nodes], queries).astype(np.float32))


def test_arrays_that_do_not_fit_are_refused():
    """Nothing outside of them is read."""
    ours = Walks(WALKING, faiss, graph_of(codes_of(50, 16, 15)))
    for queries, k, ef, threads in ((16, 0, 5, 1), (16, 5, 0, 1), (16, 5, 5, 0), (16, 5, 5, 65), (15, 5, 5, 1)):
        with pytest.raises(ValueError, match="do not fit"):
            ours.search(np.zeros((3, queries), np.float32), k, ef, threads, None)


def test_an_index_answers_alike_with_and_without_compiled_walks(monkeypatch, tmp_path):
    """Also for what came and went since, under a bitmap of what is allowed, and when it is a map of its file."""
    rng = np.random.default_rng(16)
    vectors, queries = (unit_rows(rng.standard_normal((n, 64))) for n in (1200, 40))
    index = make("hnsw_int8", 64)
    index.tune(ShardTuning(ef_search=64))
    index.add(np.arange(1000), vectors[:1000])

    def answers(some):
        allowed = some.allowed(np.arange(some.nodes.seen) % 3 > 0)
        return [*some.search(queries, 50), *some.search(queries, 70), *some.search_allowed(queries, 20, 80, allowed)]

    def both(some):
        ours = answers(some)
        with monkeypatch.context() as without:
            without.setattr(int8_graph, "WALKING", None)
            some.graph.walked.forget_walks()
            theirs = answers(some)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)

    both(index)
    index.save(tmp_path / "a.index")
    index.add(np.arange(1000, 1200), vectors[1000:])
    both(index)
    index.remove(np.arange(0, 900, 2))
    both(index)
    loaded = hnsw_int8.load(tmp_path / "a.index", hnsw_int8.Spec(), 64)
    loaded.tune(ShardTuning(ef_search=64))
    both(loaded)
    loaded.add(np.arange(1000, 1200), vectors[1000:])
    both(loaded)


def test_an_index_looks_at_fewer_nodes_where_its_effort_is_small(monkeypatch):
    """At `ef_search` 24 a walk for fifty keeps 24 nodes in sight, one for a hundred 48; at 50 all of them."""
    index = make("hnsw_int8", 32)
    index.add(np.arange(600), unit_rows(np.random.default_rng(17).standard_normal((600, 32))))
    efforts = []

    class Seen(Walks):
        def search(self, codes, k, ef, threads, allowed, instructions=VNNI):
            efforts.append((k, ef))
            return super().search(codes, k, ef, threads, allowed, instructions)

    monkeypatch.setattr(int8_graph, "Walks", Seen)
    for effort in (1, 24, 50, 64):
        index.tune(ShardTuning(ef_search=effort))
        for k in (10, 50, 100):
            index.search(unit_rows(np.ones((1, 32))), k)
    assert efforts == [
        (10, 3), (50, 13), (100, 25), (10, 24), (50, 24), (100, 48), (10, 50), (50, 50), (100, 100), (10, 64), (50, 64),
        (100, 100),
    ]  # fmt: skip


@pytest.mark.parametrize("dimension", [1, 7, 384])
def test_questions_are_those_of_the_rounding(dimension):
    """To the bit: long and short ones, halves between two whole numbers, zeros, and none at all."""
    rng, graph = np.random.default_rng(8), graph_of(codes_of(10, dimension, 1))
    walks = Walks(WALKING, faiss, graph)
    lengths = np.array([1.0, 1e-3, 1e6, 1e-29, 1e-35, 0.0], np.float32)
    queries = rng.standard_normal((len(lengths), dimension)).astype(np.float32) * lengths[:, None]
    halves = (rng.integers(-253, 254, (4, dimension)) / 2).astype(np.float32)
    halves[:, 0] = 127
    for scale in (0.0, 0.3, 1234.5):
        for some in (queries, halves, queries[:0], queries[::2]):
            rounding = Rounding(scale)
            codes, longer = walks.questions(some, rounding)
            plain, plain_longer = rounding.questions(some)
            np.testing.assert_array_equal(codes.view(np.int32), plain.view(np.int32))
            np.testing.assert_array_equal(longer, plain_longer)
    with pytest.raises(ValueError, match="do not fit"):
        WALKING.round(queries, 1.0, 1.0, queries.copy(), np.zeros((5, 1), np.float32))
