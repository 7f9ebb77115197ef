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

import logging
import math
import os
import struct
from collections.abc import Iterator
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
from recsys.index.clusters import clusters_of
from recsys.index.graph import GraphIndex, load_nodes
from recsys.index.huge_pages import huge_pages
from recsys.index.lent_memory import Loans, lent
from recsys.index.unreached import ReachedGraph
from recsys.index.walks import Walks, compiled

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)

_HEADROOM = 1.25
"""Components of later vectors may be larger than those of the first by this factor before they are clipped."""

_SMALLEST = np.float32(1e-30)
"""A query whose components are all smaller counts as zeros."""
READ = 1 << 23
"""Components read at a time: 32 MiB as float32."""
LINKED = 1 << 27
"""Components linked at a time: faiss takes them as float32, in 512 MiB."""
_UNSORTED = 1 << 16
"""Vectors up to which they are linked before they are put in order: so many, and their links, fit a core's cache."""
_MARKED = 1 << 27
"""Nodes up to which a walk marks those that it has seen in an array of as many bytes. faiss does so up to 500,000, and
keeps them in a hash set in larger graphs, which takes longer than to clear a megabyte for each batch."""

_USUAL = 50
"""Neighbours that a source has by default. A walk for so many keeps `ef_search` nodes in sight, fewer than it is asked
for where `ef_search` is smaller; one for more of them keeps more in the same measure. At 24 it found 0.992 of the ten
nearest among 40,000 of 384 dimensions, and 0.965 of the fifty, in 30 µs; at 50 it was all ten, 0.989 and 50 µs."""
_LEAST = 0.25
"""Share of the neighbours that a walk keeps in sight at the least: with fewer it may not come by so many at all."""

_END = struct.Struct("<8sdQQ")
"""End of a file: `_MAGIC`, the scale, and how many bytes faiss' own part and the numbers of hidden nodes take."""
_MAGIC = b"rsint8-1"

Bits = npt.NDArray[np.uint8]


class Spec(hnsw.Spec):
    """The settings of `hnsw`."""

    engine: str = "hnsw_int8"

    builds_from_file: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = (24, 32, 40, *hnsw.Spec.efforts)


@cache
def _faiss() -> Any:
    import faiss  # noqa: PLC0415 - see `base.Engine`; it takes 0.15 s

    faiss.cvar.visited_table_hashset_threshold = _MARKED
    return faiss


class Int8Graph:
    """A `Graph` by faiss, which numbers vectors from 0, as nodes are numbered. Searches return node i while bit i of
    `bits` is set.

    `scale`: factor of a component before it is rounded; 0.0 until the first vectors come.
    """

    exact_scores: ClassVar[bool] = False
    selects: ClassVar[bool] = True

    def __init__(self, graph: faiss.IndexHNSWSQ, scale: float, hidden: Rows, file: _OpenFile | None = None) -> None:
        """`file`: that of which the graph's codes and links are a map; None: it has them itself."""
        self._graph = graph
        self._file = file
        self._walks: Walks | None = None
        """Of the graph as it is; None: they are made for the next search."""
        self._loans: Loans | None = None
        """The memory that the graph has when it has grown out of the map of its file."""
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

    def own(self) -> None:
        """Get memory in which the map of a file can grow; where the kernel has none, copy the file, which takes 0.3 s
        for a million of 128 dimensions.
        """
        if self._file is None or self._loans is not None:
            return
        self._loans = lent(self._graph, self._storage.codes, self._file.whole, self._file.handle)
        if self._loans is not None:
            return
        # By the open file, for its name may be gone. Searches under way keep the old graph, and with it the map.
        with huge_pages():
            self._graph = _faiss().read_index(f"/proc/self/fd/{self._file.handle}")
        self._file = None

    @property
    def _storage(self) -> Any:
        return _faiss().downcast_index(self._graph.storage)

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        if not start:
            return self.build(codes, np.arange(len(codes)), threads, scaled=True)
        self.forget_walks()  # before anything moves: whatever fails here, no walk looks where the arrays were
        if self._loans is not None:
            if self._file is not None:
                self._loans.begin()
                self._graph.referenced_objects, self._file = [self._loans], None
            self._loans.ready(len(codes))
        _faiss().omp_set_num_threads(threads)  # holds for calls of this thread
        self._graph.add(codes)
        self._room()
        return np.arange(start, len(self))

    def coded(self, vectors: npt.NDArray[np.floating]) -> Iterator[Floats]:
        step = max(READ // vectors.shape[1], 1)
        blocks = [slice(start, start + step) for start in range(0, len(vectors), step)]
        if not self._scale:
            largest = max(float(max(part.max(), -part.min())) for part in (vectors[block] for block in blocks))
            self._scale = 127 / (_HEADROOM * (largest or 1.0))
        for block in blocks:
            yield self.codes(np.asarray(vectors[block], np.float32))

    def build(self, vectors: npt.NDArray[np.floating], rows: Rows, threads: int, *, scaled: bool = False) -> Rows:
        """See `BuiltGraph`. `scaled`: the vectors are codes already.

        Where not all fit into one call of faiss, each call links a part of all clusters, so that no cluster is linked
        before others are there; and the graph is put in order whenever it has doubled.
        """

        def read(part: slice | Rows) -> Floats:
            block = np.asarray(vectors[rows[part]], np.float32)
            return block if scaled else self.codes(block)

        found = clusters_of(read, len(rows), vectors.shape[1], threads)
        clusters = np.zeros(len(rows), np.int16) if found is None else found
        _faiss().omp_set_num_threads(threads)  # holds for calls of this thread
        step, few = max(LINKED // vectors.shape[1], 1), len(rows) <= _UNSORTED
        order, sorted_until = np.zeros(0, np.int64), step
        for start in range(0, len(rows), step):
            end = min(start + step, len(rows))
            part = np.arange(start, end) if few else start + np.argsort(clusters[start:end], kind="stable")
            self._graph.add(read(part))
            order = np.concatenate([order, part])
            if end >= 2 * sorted_until or (end == len(rows) and (start or few)):
                again = np.argsort(clusters[order], kind="stable")
                self._graph.permute_entries(again)
                order, sorted_until = order[again], end
            log.info("linked %d of %d vectors", end, len(rows))
        self.forget_walks()
        self._room()
        nodes = np.empty(len(rows), np.int64)
        nodes[order] = np.arange(len(rows))
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
        allowed, ef = bits & self._bits[: len(bits)] if self._hidden else bits, self._kept(max(effort, k))
        if walks := self._compiled():
            return self._scored(*walks.search(codes, k, ef, self._tuning.threads, allowed))
        _faiss().omp_set_num_threads(self._tuning.threads)
        how = _faiss().SearchParametersHNSW(efSearch=ef, sel=_faiss().IDSelectorBitmap(allowed))
        return self._scored(*self._graph.search(codes, k, params=how))

    def likeness(self, codes: Floats, others: Floats) -> Floats:
        return (codes @ others.T) * np.float32(1 / self._scale**2)

    def _walk(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        effort = self._tuning.ef_search
        if walks := self._compiled():
            ef = self._kept(max(effort, math.ceil(k * min(1.0, max(effort / _USUAL, _LEAST)))))
            allowed = self._bits if self._hidden else None
            return self._scored(*walks.search(codes, k, ef, self._tuning.threads, allowed))
        ef = self._kept(max(effort, k))
        _faiss().omp_set_num_threads(self._tuning.threads)
        before, how = self._parameters
        if before != ef:
            how = _faiss().SearchParametersHNSW(efSearch=ef, sel=self._selector)
            self._parameters = (ef, how)
        return self._scored(*self._graph.search(codes, k, params=how))

    def forget_walks(self) -> None:
        """The next search makes them anew, of the arrays as they lie then."""
        self._walks = None

    def _compiled(self) -> Walks | None:
        """None: faiss itself has to walk."""
        if self._walks is None and (walking := compiled()) is not None and len(self):
            self._walks = Walks(walking, _faiss(), self._graph)
        return self._walks

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
        _faiss().write_index(self._graph, str(path))
        with path.open("ab") as file:
            size = file.tell()
            file.write(hidden.tobytes())
            file.write(_END.pack(_MAGIC, self._scale, size, hidden.nbytes))


def _end(whole: Bits) -> tuple[float, int, int]:
    """What the end of a file says of it, see `_END`. Raises ValueError and struct.error for another file."""
    magic, scale, size, hidden = _END.unpack(whole[-_END.size :].tobytes())
    if magic != _MAGIC or size + hidden + _END.size != len(whole):
        raise ValueError("it has another end")
    return scale, size, hidden


class _OpenFile:
    """A file that can be read again when its name is gone."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.whole: Bits = np.asarray(np.memmap(path, np.uint8, "r"))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


def create(spec: Spec, dimension: int) -> GraphIndex:
    graph = _faiss().IndexHNSWSQ(
        dimension, _faiss().ScalarQuantizer.QT_8bit_direct_signed, spec.m, _faiss().METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = spec.ef_construction
    return GraphIndex(ReachedGraph(Int8Graph(graph, 0.0, np.zeros(0, np.int64))))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the file knows its parameters
    """Codes and links stay a map of the file until something is added.

    Raises VersionError when the file is not one of this engine, is cut short, or does not fit. Whether its content was
    changed, the version's checksums tell.
    """
    nodes, fix = load_nodes(path), "build again, or `recsys rollback`"
    try:
        file = _OpenFile(path)
        scale, size, hidden = _end(file.whole)
        graph = file.whole[:size]
        index = _faiss().read_index(_faiss().ZeroCopyIOReader(_faiss().swig_ptr(graph), size))
        index.referenced_objects = [graph]  # faiss' own way to keep what an index reads
        gone = file.whole[size : size + hidden].copy().view(np.int64)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise VersionError(f"{path} is not an index of the engine hnsw_int8, or was changed: {error}; {fix}") from error
    if index.d != dimension:
        raise VersionError(f"{path} has vectors of dimension {index.d}, and {dimension} is needed; {fix}")
    return GraphIndex(ReachedGraph(Int8Graph(index, scale, gone, file)), nodes)
