"""faiss: the graph of `hnsw` (arXiv:1603.09320) over vectors of one byte a component, made for memory and speed.

A walk waits for memory, so with a quarter of the bytes a vector it takes about half the time. If similar vectors lie
side by side, it takes a quarter less again (40,000 of 384 dimensions: 218 and 165 µs). So the vectors that an index is
built from are put into the order of their clusters. Rounding changes only which candidates a walk proposes: the exact
vectors stay in the item table, and the shard scores every candidate with them, so scores and order of an answer are
exact.

The whole index has one scale, which its first vectors fix: components of a unit vector of 384 dimensions are about
0.05, and a constant scale would waste most of the byte. Queries are rounded too, each by a scale of its own, because
faiss multiplies bytes with bytes where the processor can, and cuts off a query's fractions there.
"""

from __future__ import annotations

import math
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index import hnsw
from recsys.index.base import NO_ROW
from recsys.index.clusters import in_clusters
from recsys.index.graph import GraphIndex, load_nodes
from recsys.index.unreached import ReachedGraph

if TYPE_CHECKING:
    import faiss

_HEADROOM = 1.25
"""Components of later vectors may be larger than those of the first by this factor before they are clipped."""

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
    """A `Graph` by faiss, which numbers vectors from 0, as nodes are numbered. Searches return node i while bit i of
    `bits` is set.

    `scale`: factor of a component before it is rounded; 0.0 until the first vectors come.
    """

    exact_scores: ClassVar[bool] = False
    selects: ClassVar[bool] = True

    def __init__(self, graph: faiss.IndexHNSWSQ, scale: float, hidden: Rows) -> None:
        self._graph = graph
        self._scale = scale
        self._tuning = ShardTuning()
        self._hidden = 0
        self._bits: Bits = np.zeros(0, np.uint8)
        self._selector: faiss.IDSelectorBitmap | None = None
        self._parameters: tuple[int, Any] = (0, None)
        """Of a plain walk, and its effort. Making them takes a tenth of the time of a walk."""
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
        """Each query as long as bytes allow: a learned taste, a hundredth as long as an item, would become zeros."""
        largest = np.abs(queries).max(axis=1, keepdims=True)
        fits = np.float32(127) / np.maximum(largest, _SMALLEST)
        return np.rint(queries * fits), fits / np.float32(self._scale or 1.0)

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        _faiss().omp_set_num_threads(threads)  # holds for calls of this thread
        self._graph.add(codes)
        nodes = np.arange(start, len(self))
        if not start and (order := in_clusters(codes, threads)) is not None:
            self._graph.permute_entries(order)
            nodes[order] = np.arange(len(codes))
        self._room()
        return nodes

    def _room(self) -> None:
        """Make room for the bits of twice as many nodes. New bits are set; only hiding clears them."""
        needed = len(self) // 8 + 1
        if needed > len(self._bits):
            self._bits = np.append(self._bits, np.full(2 * needed - len(self._bits), 0xFF, np.uint8))
            self._select()

    def _select(self) -> None:
        """Renew the selector, which reads the bits in place. Walks are faster without one if no node is hidden."""
        self._selector = _faiss().IDSelectorBitmap(self._bits) if self._hidden else None
        self._parameters = (0, None)

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
        # Links that lead over hidden nodes can make a walk fall short: then all vectors are read.
        short = (nodes[:, k - 1] == NO_ROW).nonzero()[0]
        if len(short):
            nodes[short], scores[short] = self._scan(codes[short], k)
        return nodes, scores

    def search_allowed(self, codes: Floats, k: int, effort: int, bits: Bits) -> tuple[Rows, Floats]:
        """A walk that keeps the allowed nodes alone, see `graph.SelectingGraph`."""
        selector = _faiss().IDSelectorBitmap(bits & self._bits[: len(bits)] if self._hidden else bits)
        _faiss().omp_set_num_threads(self._tuning.threads)
        how = _faiss().SearchParametersHNSW(efSearch=self._kept(max(effort, k)), sel=selector)
        return self._scored(*self._graph.search(codes, k, params=how))

    def likeness(self, codes: Floats, others: Floats) -> Floats:
        return (codes @ others.T) * np.float32(1 / self._scale**2)

    def _walk(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        ef = self._kept(max(self._tuning.ef_search, k))
        _faiss().omp_set_num_threads(self._tuning.threads)
        effort, how = self._parameters
        if effort != ef:
            how = _faiss().SearchParametersHNSW(efSearch=ef, sel=self._selector)
            self._parameters = (ef, how)
        return self._scored(*self._graph.search(codes, k, params=how))

    def _kept(self, wanted: int) -> int:
        """Nodes to keep on the way to so many that are there: faiss counts hidden ones among them."""
        return math.ceil(wanted * len(self) / (len(self) - self._hidden)) if self._hidden else wanted

    def _scan(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        how = _faiss().SearchParameters(sel=self._selector)
        return self._scored(*self._graph.storage.search(codes, k, params=how))

    def _scored(self, products: Floats, nodes: Rows) -> tuple[Rows, Floats]:
        scores = products * np.float32(1 / self._scale**2)
        missing = nodes < 0
        if np.count_nonzero(missing):
            scores, nodes = np.where(missing, np.float32(-np.inf), scores), np.where(missing, NO_ROW, nodes)
        return nodes, scores

    def vectors(self, nodes: Rows) -> Floats:
        _faiss().omp_set_num_threads(self._tuning.threads)
        codes: Floats = self._graph.reconstruct_batch(nodes)
        return codes * np.float32(1 / (self._scale or 1.0))

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
    return GraphIndex(ReachedGraph(Int8Graph(graph, 0.0, np.zeros(0, np.int64))))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the file knows its parameters
    """Raises VersionError when the file is not one of this engine, is cut short, was changed, or does not fit."""
    nodes, fix = load_nodes(path), "build again, or `recsys rollback`"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # a zip: its parts have checksums
            scale, hidden, graph = (stored[part] for part in ("scale", "hidden", "graph"))
        index = _faiss().deserialize_index(graph)
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise VersionError(f"{path} is not an index of the engine hnsw_int8, or was changed: {error}; {fix}") from error
    if index.d != dimension:
        raise VersionError(f"{path} has vectors of dimension {index.d}, and {dimension} is needed; {fix}")
    return GraphIndex(ReachedGraph(Int8Graph(index, float(scale), hidden)), nodes)
