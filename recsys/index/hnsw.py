"""hnswlib: a navigable small-world graph (Malkov and Yashunin 2018, arXiv:1603.09320)."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from recsys.config import IndexSpec, ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.index.base import NO_ROW
from recsys.index.graph import GraphIndex, load_nodes


class HnswGraph:
    """`add_items` and `resize_index` must not run beside `knn_query`: `GraphIndex` sees to it."""

    def __init__(self, graph: hnswlib.Index) -> None:
        self._graph = graph
        self._threads = 1

    def __len__(self) -> int:
        return int(self._graph.element_count)

    def codes(self, vectors: Floats) -> Floats:
        return vectors

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        return queries, None

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        needed = start + len(codes)
        if needed > self._graph.max_elements:
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
        found, distances = self._query(codes, k)
        if found.shape[1] == k:
            return found.astype(np.int64), 1.0 - distances
        nodes = np.full((len(codes), k), NO_ROW, np.int64)
        scores = np.full((len(codes), k), -np.inf, np.float32)
        nodes[:, : found.shape[1]] = found.astype(np.int64)
        scores[:, : found.shape[1]] = 1.0 - distances
        return nodes, scores

    def _query(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        """Hnswlib refuses a k that the walk does not reach (many hidden nodes around): then a smaller one."""
        while k > 0:
            try:
                found: tuple[Rows, Floats] = self._graph.knn_query(codes, k, num_threads=self._threads)
            except RuntimeError:
                k //= 2
            else:
                return found
        return np.zeros((len(codes), 0), np.int64), np.zeros((len(codes), 0), np.float32)

    def tune(self, tuning: ShardTuning) -> None:
        self._graph.set_ef(tuning.ef_search)
        self._threads = tuning.threads

    def save(self, path: Path) -> None:
        self._graph.save_index(str(path))


def _graph(dimension: int) -> hnswlib.Index:
    return hnswlib.Index(space="ip", dim=dimension)


def create(spec: IndexSpec, dimension: int) -> GraphIndex:
    graph = _graph(dimension)
    # A fixed seed: two builds on one thread are the same graph.
    graph.init_index(max_elements=16, ef_construction=spec.ef_construction, M=spec.m, random_seed=7)
    graph.set_ef(ShardTuning().ef_search)
    return GraphIndex(HnswGraph(graph))


def load(path: Path, spec: IndexSpec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the file knows its parameters
    """Which nodes are hidden hnswlib keeps in its file."""
    nodes = load_nodes(path)
    graph = _graph(dimension)
    graph.load_index(str(path))
    graph.set_ef(ShardTuning().ef_search)
    return GraphIndex(HnswGraph(graph), nodes)
