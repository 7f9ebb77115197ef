"""hnswlib: a navigable small-world graph (Malkov and Yashunin 2018, arXiv:1603.09320)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Keys, Rows
from recsys.index.base import NO_ROW, doubled
from recsys.index.graph import GivenVectors
from recsys.index.graph_index import GraphIndex, load_nodes
from recsys.index.hnsw_file import put_in_clusters
from recsys.index.huge_pages import huge_pages
from recsys.index.unreached import ReachedGraph

if TYPE_CHECKING:
    import hnswlib

_MOST_EF_CONSTRUCTION = 2000
_LINKS = 8
"""Bytes of a node for each link of `m`: on the lowest level it has twice as many, of four bytes."""


class Spec(IndexSpec):
    """Of a graph of links; `hnsw_int8` has the same."""

    engine: str = "hnsw"
    m: int = Field(16, ge=4, le=128)
    """Links a node; memory grows by about 8 bytes times `m` an item."""
    ef_construction: int = Field(200, ge=8, le=_MOST_EF_CONSTRUCTION)
    """Candidates kept while building; more is slower to build and better to search."""
    ef_search_limit: int = Field(512, ge=1, le=10_000)
    """How far a build may raise the shards' `ef_search` when recall is too low; a walk's time grows with it."""
    m_limit: int = Field(64, ge=4, le=128)
    """How far a build may raise `m`, and `ef_construction` with it, when `ef_search_limit` is not enough."""

    holds_vectors: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = (50, 64, 96, 128, 192, 256, 384, 512)
    """A walk keeps at least as many candidates as it is asked for, which are 50."""
    cost_growth: ClassVar[float] = 0.15
    """The steps of a walk grow with the logarithm of the number of nodes."""

    @classmethod
    def trials(cls, items: int, dimension: int) -> list[dict[str, Any]]:  # noqa: ARG003 - see `IndexSpec.trials`
        return [{"m": 8}, {"m": 16}, {"m": 32, "ef_construction": 400}]

    def stronger(self) -> Iterator[IndexSpec]:
        """With twice as many links and candidates each time, within `m_limit`."""
        m, ef_construction = self.m * 2, self.ef_construction * 2
        while m <= self.m_limit:
            yield self.model_copy(update={"m": m, "ef_construction": min(ef_construction, _MOST_EF_CONSTRUCTION)})
            m, ef_construction = m * 2, ef_construction * 2

    def ef_searches(self, ef_search: int) -> list[int]:
        """Doubled within `ef_search_limit`."""
        return doubled(ef_search, self.ef_search_limit)

    @property
    def words(self) -> str:
        return f"{self.engine} m {self.m} ef_construction {self.ef_construction}"

    @property
    def limits(self) -> str:
        return f"index.m_limit ({self.m_limit}) and index.ef_search_limit ({self.ef_search_limit})"


class HnswGraph(GivenVectors):
    """A `Graph` by hnswlib. `add_items` and `resize_index` must not run beside `knn_query`: `GraphIndex` sees to it."""

    exact_scores: ClassVar[bool] = True
    selects: ClassVar[bool] = False
    reuses: ClassVar[bool] = False
    """hnswlib asks a Python function about each node."""

    def __init__(self, graph: hnswlib.Index) -> None:
        self._graph = graph
        self._threads = 1
        self._build_threads = 1

    def __len__(self) -> int:
        return int(self._graph.element_count)

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        needed = start + len(codes)
        if not start:
            self._build_threads = threads
            with huge_pages(needed * (4 * self._graph.dim + _LINKS * self._graph.M)):
                self._graph.resize_index(max(needed, self._graph.max_elements))
        elif needed > self._graph.max_elements:
            self._graph.resize_index(max(needed, self._graph.max_elements * 3 // 2))
        nodes = np.arange(start, needed)
        self._graph.add_items(codes, nodes, num_threads=threads)
        return nodes

    def hide(self, nodes: Rows) -> None:
        for node in nodes.tolist():
            self._graph.mark_deleted(node)

    def show(self, nodes: Rows) -> None:
        for node in nodes.tolist():
            self._graph.unmark_deleted(node)

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        nearest, distances = self._query(codes, k)
        width = nearest.shape[1]
        if width == k:
            return nearest.view(np.int64), 1.0 - distances
        nodes = np.full((len(codes), k), NO_ROW, np.int64)
        scores = np.full((len(codes), k), -np.inf, np.float32)
        nodes[:, :width] = nearest.view(np.int64)
        scores[:, :width] = 1.0 - distances
        return nodes, scores

    def likeness(self, codes: Floats, others: Floats) -> Floats:
        return codes @ others.T

    def _query(self, codes: Floats, k: int) -> tuple[Keys, Floats]:
        """(m, w) uint64 labels and distances, w <= k. hnswlib refuses a k that the walk does not reach, which happens
        among many hidden nodes; then half of it is tried.
        """
        while k > 0:
            try:
                nearest: tuple[Keys, Floats] = self._graph.knn_query(codes, k, num_threads=self._threads)
            except RuntimeError:
                k //= 2
            else:
                return nearest
        return np.zeros((len(codes), 0), np.uint64), np.zeros((len(codes), 0), np.float32)

    def vectors(self, nodes: Rows) -> Floats:
        if not len(nodes):
            return np.zeros((0, self._graph.dim), np.float32)
        return np.asarray(self._graph.get_items(nodes, return_type="numpy"), np.float32)

    def tune(self, tuning: ShardTuning) -> None:
        self._graph.set_ef(tuning.ef_search)
        self._threads = tuning.threads

    def save(self, path: Path) -> None:
        self._graph.save_index(str(path))
        put_in_clusters(path, self._graph.dim, self._build_threads)


def _graph(dimension: int) -> hnswlib.Index:
    import hnswlib  # noqa: PLC0415 - see `base.Engine`

    return hnswlib.Index(space="ip", dim=dimension)


def create(spec: Spec, dimension: int) -> GraphIndex:
    graph = _graph(dimension)
    # A fixed seed: two builds on one thread are the same graph.
    graph.init_index(max_elements=16, ef_construction=spec.ef_construction, M=spec.m, random_seed=7)
    graph.set_ef(ShardTuning().ef_search)
    return GraphIndex(ReachedGraph(HnswGraph(graph)))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the file knows its parameters
    """See `base.Engine`. hnswlib's own file says which nodes are hidden."""
    nodes = load_nodes(path)
    graph = _graph(dimension)
    with huge_pages(path.stat().st_size):
        graph.load_index(str(path))
    graph.set_ef(ShardTuning().ef_search)
    return GraphIndex(ReachedGraph(HnswGraph(graph)), nodes)
