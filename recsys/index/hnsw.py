"""hnswlib: a navigable small-world graph (Malkov and Yashunin 2018, arXiv:1603.09320)."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from recsys.config import IndexSpec, ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.index.base import NO_ROW
from recsys.index.locking import SharedLock

_LOCKED_ADDS = 16
"""Vectors added in one hold of the lock: about 5 ms at 384 dimensions, the longest a search waits."""


class HnswIndex:
    """`add_items` and `resize_index` must not run beside `knn_query`: searches share the lock, a write is alone."""

    def __init__(self, graph: hnswlib.Index, *, removed: int = 0) -> None:
        self._graph = graph
        self._threads = 1
        self._removed = removed
        self._lock = SharedLock()

    def __len__(self) -> int:
        return int(self._graph.element_count) - self._removed

    def add(self, rows: Rows, vectors: Floats, threads: int = 1) -> None:
        step = _LOCKED_ADDS * threads
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            with self._lock.alone():
                needed = self._graph.element_count + len(rows[part])
                if needed > self._graph.max_elements:
                    self._graph.resize_index(max(needed, self._graph.max_elements * 3 // 2))
                self._graph.add_items(vectors[part], rows[part], num_threads=threads)

    def remove(self, rows: Rows) -> None:
        with self._lock.alone():
            for row in rows.tolist():
                try:
                    self._graph.mark_deleted(row)
                    self._removed += 1
                except RuntimeError:  # not there, or removed before: how hnswlib says so
                    continue

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        rows = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        with self._lock.shared():
            found, distances = self._query(queries, min(k, len(self)))
        rows[:, : found.shape[1]] = found.astype(np.int64)
        scores[:, : found.shape[1]] = 1.0 - distances
        return rows, scores

    def _query(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """Hnswlib refuses a k that the walk does not reach (many removed nodes around): then a smaller one."""
        while k > 0:
            try:
                found: tuple[Rows, Floats] = self._graph.knn_query(queries, k, num_threads=self._threads)
            except RuntimeError:
                k //= 2
            else:
                return found
        return np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)

    def tune(self, tuning: ShardTuning) -> None:
        with self._lock.alone():
            self._graph.set_ef(tuning.ef_search)
            self._threads = tuning.threads

    def save(self, path: Path) -> None:
        with self._lock.shared():
            self._graph.save_index(str(path))


def _graph(dimension: int) -> hnswlib.Index:
    return hnswlib.Index(space="ip", dim=dimension)


def create(spec: IndexSpec, dimension: int) -> HnswIndex:
    graph = _graph(dimension)
    # A fixed seed: two builds on one thread are the same graph.
    graph.init_index(max_elements=16, ef_construction=spec.ef_construction, M=spec.m, random_seed=7)
    graph.set_ef(ShardTuning().ef_search)
    return HnswIndex(graph)


def load(path: Path, spec: IndexSpec, dimension: int) -> HnswIndex:  # noqa: ARG001 - the file knows its parameters
    graph = _graph(dimension)
    graph.load_index(str(path))
    graph.set_ef(ShardTuning().ef_search)
    return HnswIndex(graph, removed=sum(_is_removed(graph, row) for row in graph.get_ids_list()))


def _is_removed(graph: hnswlib.Index, row: int) -> bool:
    """Hnswlib keeps the marks in its file and tells of them only by refusing to mark twice."""
    try:
        graph.mark_deleted(row)
    except RuntimeError:
        return True
    graph.unmark_deleted(row)
    return False
