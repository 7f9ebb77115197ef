"""faiss: the graph of `hnsw` (arXiv:1603.09320) over vectors of one byte a component, made for memory and speed.

A walk waits for memory: a quarter of the bytes a vector is about half the time. Where vectors that are alike lie side
by side it is a quarter less again (40,000 of 384 dimensions: 218 and 165 µs), so those that an index is built from are
put into the order of their clusters. What a walk proposes is near the best but for rounding: the exact vectors stay in
the item table, and retrieval scores every candidate with them (`_likeness`), so the scores and the order of an answer
are exact; only which candidates are proposed is approximate.

One scale holds for the whole index, fixed by its first vectors, as components of a unit vector of 384 dimensions are
about 0.05 and a fixed one would waste most of the byte. Queries are rounded too, each by a scale of its own: faiss
multiplies bytes with bytes where the processor can, and cuts a query's fractions off there.
"""

from __future__ import annotations

import math
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.config import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index import hnsw
from recsys.index.base import NO_ROW
from recsys.index.graph import GraphIndex, load_nodes

if TYPE_CHECKING:
    import faiss

_CLUSTER = 150
"""Vectors of a cluster that lie side by side: 56 KiB at 384 dimensions, about what a processor keeps near."""
_CLUSTERS = 1024
"""At the most: finer ones gained nothing more, and finding them takes time."""
_HEADROOM = 1.25
"""Later vectors may have components so much larger than the first ones before they are clipped."""

_SMALLEST = np.float32(1e-30)
"""A query whose components are all smaller counts as zeros."""

Bits = npt.NDArray[np.uint8]


class Spec(hnsw.Spec):
    """The settings of `hnsw`."""

    engine: str = "hnsw_int8"


@cache
def _faiss() -> Any:
    import faiss  # noqa: PLC0415 - see `base.Engine`; it takes 0.15 s

    return faiss


class Int8Graph:
    """faiss numbers vectors from 0, as nodes are numbered. Node i is found while bit i of `bits` is set.

    `scale`: what a component is multiplied by before it is rounded; 0.0 until the first vectors come.
    """

    def __init__(self, graph: faiss.IndexHNSWSQ, scale: float, hidden: Rows) -> None:
        self._graph = graph
        self._scale = scale
        self._tuning = ShardTuning()
        self._hidden = 0
        self._bits: Bits = np.zeros(0, np.uint8)
        self._selector: faiss.IDSelectorBitmap | None = None
        self._room()
        self.hide(hidden)

    def __len__(self) -> int:
        return int(self._graph.ntotal)

    def codes(self, vectors: Floats) -> Floats:
        """Whole numbers within a signed byte, as faiss takes them."""
        if not self._scale and len(vectors):
            self._scale = 127 / (_HEADROOM * (float(max(vectors.max(), -vectors.min())) or 1.0))
        rounded = vectors * np.float32(self._scale)
        np.rint(rounded, out=rounded)
        np.clip(rounded, -127, 127, out=rounded)
        return rounded + np.float32(0)  # no -0.0

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        """Each as long as a byte allows: a learned taste may be a hundredth as long as an item, and would be zeros."""
        largest = np.abs(queries).max(axis=1, keepdims=True)
        fits = np.float32(127) / np.maximum(largest, _SMALLEST)
        return np.rint(queries * fits), fits / np.float32(self._scale or 1.0)

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        _faiss().omp_set_num_threads(threads)  # holds for calls of this thread
        self._graph.add(codes)
        nodes = np.arange(start, len(self))
        if not start:
            nodes[self._in_clusters(codes)] = np.arange(len(codes))
        self._room()
        return nodes

    def _in_clusters(self, codes: Floats) -> Rows:
        """Puts what is alike side by side; (n,) the former position of each."""
        clusters = min(len(codes) // _CLUSTER, _CLUSTERS)
        if clusters < 2:
            return np.arange(len(codes))
        kmeans = _faiss().Kmeans(codes.shape[1], clusters, niter=5, max_points_per_centroid=64)
        kmeans.train(codes)
        order = np.argsort(kmeans.assign(codes)[1], kind="stable")
        self._graph.permute_entries(order)
        return order

    def _room(self) -> None:
        """Bits for all nodes and as many again, set: only hiding clears them."""
        needed = len(self) // 8 + 1
        if needed > len(self._bits):
            self._bits = np.append(self._bits, np.full(2 * needed - len(self._bits), 0xFF, np.uint8))
            self._select()

    def _select(self) -> None:
        """The selector reads the bits where they lie. Without hidden nodes walks are faster without one."""
        self._selector = _faiss().IDSelectorBitmap(self._bits) if self._hidden else None

    def hide(self, nodes: Rows) -> None:
        self._flip(nodes, len(nodes))

    def show(self, nodes: Rows) -> None:
        self._flip(nodes, -len(nodes))

    def _flip(self, nodes: Rows, more_hidden: int) -> None:
        np.bitwise_xor.at(self._bits, nodes >> 3, (1 << (nodes & 7)).astype(np.uint8))
        before, self._hidden = self._hidden, self._hidden + more_hidden
        if bool(before) != bool(self._hidden):
            self._select()

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        """Scores are inner products of rounded vectors: within about 0.01 of the exact ones."""
        nodes, scores = self._walk(codes, k)
        # Where the links led over hidden ones a walk may miss some: then all are read.
        short = np.flatnonzero(nodes[:, k - 1] == NO_ROW)
        if len(short):
            nodes[short], scores[short] = self._scan(codes[short], k)
        return nodes, scores

    def _walk(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        # faiss counts hidden nodes among those that it keeps on the way.
        ef = math.ceil(max(self._tuning.ef_search, k) * len(self) / (len(self) - self._hidden))
        _faiss().omp_set_num_threads(self._tuning.threads)
        how = _faiss().SearchParametersHNSW(efSearch=ef, sel=self._selector)
        return self._scored(*self._graph.search(codes, k, params=how))

    def _scan(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        how = _faiss().SearchParameters(sel=self._selector)
        return self._scored(*self._graph.storage.search(codes, k, params=how))

    def _scored(self, products: Floats, nodes: Rows) -> tuple[Rows, Floats]:
        scores = products * np.float32(1 / self._scale**2)
        missing = nodes < 0
        if np.count_nonzero(missing):
            scores, nodes = np.where(missing, np.float32(-np.inf), scores), np.where(missing, NO_ROW, nodes)
        return nodes, scores

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning

    def save(self, path: Path) -> None:
        hidden = np.flatnonzero(~np.unpackbits(self._bits, bitorder="little").astype(bool))
        with path.open("wb") as file:
            np.savez(file, scale=self._scale, hidden=hidden, graph=_faiss().serialize_index(self._graph))


def create(spec: Spec, dimension: int) -> GraphIndex:
    graph = _faiss().IndexHNSWSQ(
        dimension, _faiss().ScalarQuantizer.QT_8bit_direct_signed, spec.m, _faiss().METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = spec.ef_construction
    return GraphIndex(Int8Graph(graph, 0.0, np.zeros(0, np.int64)))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the file knows its parameters
    """Raises VersionError when the file is not one of this engine, is cut short, was changed, or does not fit."""
    nodes, fix = load_nodes(path), "build again, or `recsys rollback`"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # a zip: its parts have checksums
            scale, hidden, graph = (stored[part] for part in ("scale", "hidden", "graph"))
        made = _faiss().deserialize_index(graph)
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise VersionError(f"{path} is not an index of the engine hnsw_int8, or was changed: {error}; {fix}") from error
    if made.d != dimension:
        raise VersionError(f"{path} has vectors of dimension {made.d}, and {dimension} is needed; {fix}")
    return GraphIndex(Int8Graph(made, float(scale), hidden), nodes)
