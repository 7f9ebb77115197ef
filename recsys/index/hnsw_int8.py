"""faiss: the graph of `hnsw` (arXiv:1603.09320) over vectors of one byte a component, made for memory and speed.

A walk waits for memory: a quarter of the bytes a vector is about half the time. Where vectors that are alike lie side
by side it is a quarter less again (40,000 of 384 dimensions: 218 and 165 µs), so those that an index is built from are
put into the order of their clusters. What a walk proposes is near the best but for rounding: the exact vectors stay in
the item table, and retrieval scores every candidate with them (`_likeness`), so the scores and the order of an answer
are exact; only which candidates are proposed is approximate.

One scale holds for the whole index, fixed by its first vectors, as components of a unit vector of 384 dimensions are
about 0.05 and a fixed one would waste most of the byte. Queries are rounded by the same scale: faiss multiplies bytes
with bytes where the processor can, and cuts a query's fractions off there.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from recsys.arrays import Column
from recsys.config import IndexSpec, ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index.base import NO_ROW
from recsys.index.locking import SharedLock

_LOCKED_ADDS = 16
"""Vectors added in one hold of the lock: about 3 ms at 384 dimensions, the longest a search waits."""
_CLUSTER = 150
"""Vectors of a cluster that lie side by side: 56 KiB at 384 dimensions, about what a processor keeps near."""
_CLUSTERS = 1024
"""At the most: finer ones gained nothing more, and finding them takes time."""
_HEADROOM = 1.25
"""Later vectors may have components so much larger than the first ones before they are clipped."""


class HnswInt8Index:
    """faiss numbers vectors from 0 by themselves: position i holds row `rows[i]`, and is found while `alive[i]`.

    `scale`: what a component is multiplied by before it is rounded; 0.0 until the first vectors come.
    """

    def __init__(self, graph: faiss.IndexHNSWSQ, rows: Rows, alive: npt.NDArray[np.bool_], scale: float) -> None:
        self._graph = graph
        self._rows, self._alive = Column(np.int64), Column(np.bool_)
        self._rows.extend(rows)
        self._alive.extend(alive)
        self._scale = scale
        self._tuning = ShardTuning()
        self._lock = SharedLock()
        self._count()

    def _count(self) -> None:
        alive = self._alive.view
        self._live = int(alive.sum())
        full = self._live == len(alive)
        self._selector = None if full else faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))

    def __len__(self) -> int:
        return self._live

    def add(self, rows: Rows, vectors: Floats, threads: int = 1) -> None:
        if not self._scale and len(rows):
            self._scale = 127 / (_HEADROOM * (float(max(vectors.max(), -vectors.min())) or 1.0))
        # In an empty index there is nothing to wait for, and faiss builds faster what it is given at once.
        empty = not len(self._rows)
        step = max(len(rows), 1) if empty else _LOCKED_ADDS * threads
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            rounded = self._rounded(vectors[part])
            with self._lock.alone():
                faiss.omp_set_num_threads(threads)  # holds for calls of this thread
                self._graph.add(rounded)
                order = self._in_clusters(rounded) if empty else slice(None)
                self._rows.extend(rows[part][order])
                self._alive.extend(np.ones(len(rounded), np.bool_))
                self._count()

    def _in_clusters(self, rounded: Floats) -> Rows:
        """Puts what is alike side by side; (n,) the former position of each."""
        clusters = min(len(rounded) // _CLUSTER, _CLUSTERS)
        if clusters < 2:
            return np.arange(len(rounded))
        kmeans = faiss.Kmeans(rounded.shape[1], clusters, niter=5, max_points_per_centroid=64)
        kmeans.train(rounded)
        order = np.argsort(kmeans.assign(rounded)[1], kind="stable")
        self._graph.permute_entries(order)
        return order

    def remove(self, rows: Rows) -> None:
        positions = np.flatnonzero(np.isin(self._rows.view, rows))
        with self._lock.alone():
            self._alive.view[positions] = False
            self._count()

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """Scores are inner products of rounded vectors: within about 0.01 of the exact ones."""
        rows = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        with self._lock.shared():
            take = min(k, self._live)
            if take and len(queries):
                rounded = self._rounded(queries)
                rows[:, :take], scores[:, :take] = self._walk(rounded, take)
                # Where the links led over removed ones a walk may miss some: then all are read.
                short = np.flatnonzero(rows[:, take - 1] == NO_ROW)
                if len(short):
                    rows[short, :take], scores[short, :take] = self._scan(rounded[short], take)
        return rows, scores

    def _walk(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        # faiss counts removed vectors among those that it keeps on the way.
        ef = math.ceil(max(self._tuning.ef_search, k) * len(self._rows) / self._live)
        faiss.omp_set_num_threads(self._tuning.threads)
        how = faiss.SearchParametersHNSW(efSearch=ef, sel=self._selector)
        return self._named(*self._graph.search(queries, k, params=how))

    def _scan(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        how = faiss.SearchParameters(sel=self._selector)
        return self._named(*self._graph.storage.search(queries, k, params=how))

    def _named(self, products: Floats, positions: Rows) -> tuple[Rows, Floats]:
        missing = positions < 0
        rows = np.where(missing, NO_ROW, self._rows.view[positions])
        return rows, np.where(missing, np.float32(-np.inf), products / np.float32(self._scale**2))

    def _rounded(self, vectors: Floats) -> Floats:
        """Whole numbers within a signed byte, as faiss takes them."""
        rounded = vectors * np.float32(self._scale)
        np.rint(rounded, out=rounded)
        return np.clip(rounded, -127, 127, out=rounded)

    def tune(self, tuning: ShardTuning) -> None:
        with self._lock.alone():
            self._tuning = tuning

    def save(self, path: Path) -> None:
        with self._lock.shared():
            graph = faiss.serialize_index(self._graph)
            rows, alive = self._rows.view, self._alive.view.copy()
        with path.open("wb") as file:
            np.savez(file, scale=self._scale, rows=rows, alive=alive, graph=graph)


def create(spec: IndexSpec, dimension: int) -> HnswInt8Index:
    graph = faiss.IndexHNSWSQ(
        dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, spec.m, faiss.METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = spec.ef_construction
    return HnswInt8Index(graph, np.zeros(0, np.int64), np.zeros(0, np.bool_), 0.0)


def load(path: Path, spec: IndexSpec, dimension: int) -> HnswInt8Index:  # noqa: ARG001 - the file knows its parameters
    """Raises VersionError when the file is not one of this engine, is cut short, was changed, or does not fit."""
    fix = "build again, or `recsys rollback`"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # a zip: its parts have checksums
            scale, rows, alive, graph = (stored[part] for part in ("scale", "rows", "alive", "graph"))
        made = faiss.deserialize_index(graph)
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise VersionError(f"{path} is not an index of the engine hnsw_int8, or was changed: {error}; {fix}") from error
    if made.d != dimension:
        raise VersionError(f"{path} has vectors of dimension {made.d}, and {dimension} is needed; {fix}")
    return HnswInt8Index(made, rows, alive, float(scale))
