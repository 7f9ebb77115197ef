"""The codes of a graph's nodes and the links between them, which faiss makes.

If similar vectors lie side by side, a walk takes a quarter less (40,000 of 384 dimensions: 218 and 165 µs). So the
vectors that an index is built from are put into the order of their clusters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from recsys.datatypes import Floats, Rows
from recsys.index.clusters import clusters_of
from recsys.index.faiss_library import library
from recsys.index.huge_pages import huge_pages
from recsys.index.int8_file import Stored
from recsys.index.lent_memory import Loans, lent
from recsys.index.mended_links import LinkArrays, cut, leading_to, mended, put, without_links_to

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)

LINKED = 1 << 27
"""Components linked at a time: faiss takes them as float32, in 512 MiB."""
_UNSORTED = 1 << 16
"""Vectors up to which they are linked before they are put in order: so many, and their links, fit a core's cache."""

_MENDED, _CUT = 64, 512
"""Nodes that get new links at a time, some 20 µs each; and nodes that lose theirs. Both take a moment in which no walk
runs.
"""


class Links:
    """`graph` numbers vectors from 0, as nodes are numbered."""

    def __init__(self, graph: faiss.IndexHNSWSQ, stored: Stored | None = None) -> None:
        """`stored`: the file of which the graph's codes and links are a map; None: it has them itself."""
        self.graph = graph
        self._stored = stored
        self._loans: Loans | None = None
        """The memory that the graph has when it has grown out of the map of its file."""
        self.lost: Rows = np.zeros(0, np.int64)
        """(n,) nodes that no link leads to since others were mended last."""

    def __len__(self) -> int:
        return int(self.graph.ntotal)

    def own(self) -> None:
        """Get memory in which the map of a file can grow; where the kernel has none, copy the file, which takes 0.3 s
        for a million of 128 dimensions.
        """
        if self._stored is None or self._loans is not None:
            return
        storage, file = library().downcast_index(self.graph.storage), self._stored.file
        self._loans = lent(self.graph, storage.codes, file.whole, file.handle)
        if self._loans is not None:
            return
        with huge_pages(len(file.whole)):
            self.graph = self._stored.copied()  # searches under way keep the old graph, and with it the map
        self._stored = None

    def add(self, codes: Floats, threads: int) -> None:
        """(n, d) codes as the next n nodes. No walk may run meanwhile, and none of before may look again."""
        self._begin()
        if self._loans is not None:
            self._loans.ready(len(codes))
        library().omp_set_num_threads(threads)  # holds for calls of this thread
        self.graph.add(codes)

    def _begin(self) -> None:
        """Leave the map of the file for the memory that `own` got."""
        if self._loans is not None and self._stored is not None:
            self._loans.begin()
            self.graph.referenced_objects, self._stored = [self._loans], None

    def replace(self, node: int, code: Floats) -> None:
        """Let a node that no link leads to stand for this (d,) code, and link it. No walk may run meanwhile.

        faiss adds at the end alone: it links the code there, in the levels of the node, and the node takes its place.
        """
        hnsw, last = self.graph.hnsw, len(self)
        hnsw.levels.push_back(hnsw.levels.at(node))  # faiss draws none where there is one
        self.add(code[None], 1)
        arrays = LinkArrays.of(self.graph)
        arrays.codes[node] = arrays.codes[last]
        arrays.links[arrays.whole(node)] = arrays.links[arrays.whole(last)]
        for level in range(int(hnsw.levels.at(node))):
            places = arrays.places(
                arrays.neighbours(node, level).astype(np.int64), level
            )  # who is linked to it, if anybody
            links = arrays.links[places]
            arrays.links[places] = np.where(links == last, node, links)
        end = int(arrays.offsets[last])
        library().downcast_index(self.graph.storage).codes.resize(last * self.graph.d)
        hnsw.neighbors.resize(end)
        hnsw.offsets.resize(last + 1)
        hnsw.levels.resize(last)
        self.graph.ntotal = self.graph.storage.ntotal = last

    @property
    def entry(self) -> int:
        """The node at which walks begin."""
        return int(self.graph.hnsw.entry_point)

    def mend(self, nodes: Rows) -> Iterator[Callable[[], None]]:
        """What has to be done that no link leads to these nodes any more, some at a time: each to be called while no
        walk runs, before the next is asked for. `lost` is of them then.
        """
        yield self._begin
        arrays = LinkArrays.of(self.graph)
        dead = np.zeros(len(self) + 1, bool)
        dead[nodes] = True
        linked, levels = leading_to(arrays, dead)
        for start in range(0, len(linked), _MENDED):
            part = slice(start, start + _MENDED)
            lists = mended(arrays, dead, linked[part], levels[part])
            yield partial(put, arrays, linked[part], levels[part], lists)
        led = np.zeros(len(self) + 1, bool)
        for start in range(0, len(nodes), _CUT):
            some = nodes[start : start + _CUT]
            led[arrays.links[arrays.places(some, 0)]] = True
            yield partial(cut, arrays, some)
        led[-1] = False  # of -1, where there is no link
        self.lost = without_links_to(arrays, np.flatnonzero(led & ~dead))

    def build(self, read: Callable[[slice | Rows], Floats], count: int, dimension: int, threads: int) -> Rows:
        """Fill an empty graph with so many vectors; `read` gives the codes of some. Return the (count,) int64 nodes.

        Where not all fit into one call of faiss, each call links a part of all clusters, so that no cluster is linked
        before others are there; and the graph is put in order whenever it has doubled.
        """
        found = clusters_of(read, count, dimension, threads)
        clusters = np.zeros(count, np.int16) if found is None else found
        library().omp_set_num_threads(threads)  # holds for calls of this thread
        step, few = max(LINKED // dimension, 1), count <= _UNSORTED
        order, sorted_until = np.zeros(0, np.int64), step
        for start in range(0, count, step):
            end = min(start + step, count)
            part = np.arange(start, end) if few else start + np.argsort(clusters[start:end], kind="stable")
            self.graph.add(read(part))
            order = np.concatenate([order, part])
            if end >= 2 * sorted_until or (end == count and (start or few)):
                again = np.argsort(clusters[order], kind="stable")
                self.graph.permute_entries(again)
                order, sorted_until = order[again], end
            log.info("linked %d of %d vectors", end, count)
        nodes = np.empty(count, np.int64)
        nodes[order] = np.arange(count)
        return nodes
