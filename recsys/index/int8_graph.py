"""The graph over int8 codes, and its walks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.index import int8_file
from recsys.index.base import NO_ROW
from recsys.index.faiss_library import library
from recsys.index.hidden_nodes import Bits, HiddenNodes
from recsys.index.int8_codes import Rounding
from recsys.index.int8_links import Links
from recsys.index.walks import WALKING, Walks

_USUAL = 50
"""Neighbours that a source has by default. A walk for so many keeps `ef_search` nodes in sight, fewer than it is asked
for where `ef_search` is smaller; one for more of them keeps more in the same measure. At 24 it found 0.992 of the ten
nearest among 40,000 of 384 dimensions, and 0.965 of the fifty, in 30 µs; at 50 it was all ten, 0.989 and 50 µs."""
_LEAST = 0.25
"""Share of the neighbours that a walk keeps in sight at the least: with fewer it may not come by so many at all."""


class Int8Graph:
    """A `BuiltGraph`, `SelectingGraph`, `HoldingGraph` and `ReusingGraph`."""

    exact_scores: ClassVar[bool] = False
    selects: ClassVar[bool] = True
    reuses: ClassVar[bool] = True

    def __init__(self, links: Links, rounding: Rounding, hidden: Rows) -> None:
        self.links = links
        self.rounding = rounding
        self.hidden = HiddenNodes()
        self._free: Rows = np.zeros(0, np.int64)
        self._walks: Walks | None = None
        """Of the graph as it is; None: they are made for the next search."""
        self._tuning = ShardTuning()
        self._parameters: tuple[int, Any, Any] = (0, None, None)
        """Effort and selector of a plain walk by faiss, and what it takes. Making that takes a tenth of a walk."""
        self.hidden.make_room(len(links))
        self.hidden.hide(hidden)

    def __len__(self) -> int:
        return len(self.links)

    def codes(self, vectors: Floats) -> Floats:
        return self.rounding.codes(vectors)

    def coded(self, vectors: npt.NDArray[np.floating]) -> Iterator[Floats]:
        return self.rounding.coded(vectors)

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        walks = self._compiled()
        return self.rounding.questions(queries) if walks is None else walks.questions(queries, self.rounding)

    def own(self) -> None:
        self.links.own()

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        if not start:
            return self._build(lambda part: codes[part], len(codes), codes.shape[1], threads)
        self.forget_walks()  # before anything moves: whatever fails here, no walk looks where the arrays were
        taken, self._free = self._free[: len(codes)], self._free[len(codes) :]
        for node, code in zip(taken.tolist(), codes, strict=False):
            self.links.replace(node, code)
        self.hidden.show(taken)
        if len(taken) == len(codes):
            return taken
        self.links.add(codes[len(taken) :], threads)
        self.hidden.make_room(len(self))
        return np.concatenate([taken, np.arange(start, len(self))])

    def build(self, vectors: npt.NDArray[np.floating], rows: Rows, threads: int) -> Rows:
        def read(part: slice | Rows) -> Floats:
            return self.codes(np.asarray(vectors[rows[part]], np.float32))

        return self._build(read, len(rows), vectors.shape[1], threads)

    def _build(self, read: Any, count: int, dimension: int, threads: int) -> Rows:
        nodes = self.links.build(read, count, dimension, threads)
        self.forget_walks()
        self.hidden.make_room(len(self))
        return nodes

    def hide(self, nodes: Rows) -> None:
        self.hidden.hide(nodes)

    def show(self, nodes: Rows) -> None:
        self.hidden.show(nodes)

    @property
    def free(self) -> Rows:
        return self._free

    def mend(self, nodes: Rows) -> Iterator[Callable[[], None]]:
        for step in self.links.mend(nodes[nodes != self.links.entry]):
            self.forget_walks()
            yield step

    def release(self, nodes: Rows) -> Rows:
        freed = nodes[nodes != self.links.entry]
        self._free = np.concatenate([self._free, freed])
        return freed

    @property
    def lost(self) -> Rows:
        """See `unreached.MendedGraph`."""
        return self.links.lost

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        """Scores are inner products of rounded vectors: within about 0.01 of the exact ones."""
        nodes, scores, missing = self._walk(codes, k)
        if missing:  # links that lead over hidden nodes can make a walk fall short: then all vectors are read
            short = (nodes[:, k - 1] == NO_ROW).nonzero()[0]
            nodes[short], scores[short], _ = self._scan(codes[short], k)
        return nodes, scores

    def search_allowed(self, codes: Floats, k: int, effort: int, bits: Bits) -> tuple[Rows, Floats]:
        """A walk that keeps the allowed nodes alone, see `graph.SelectingGraph`."""
        allowed = bits & self.hidden.bits[: len(bits)] if self.hidden else bits
        ef = self._kept(max(effort, k))
        if walks := self._compiled():
            return self._scored(*walks.search(codes, k, ef, self._tuning.threads, allowed))[:2]
        library().omp_set_num_threads(self._tuning.threads)
        how = library().SearchParametersHNSW(efSearch=ef, sel=library().IDSelectorBitmap(allowed))
        return self._scored(*self.links.graph.search(codes, k, params=how))[:2]

    def likeness(self, codes: Floats, others: Floats) -> Floats:
        return self.rounding.scores(codes @ others.T)

    def _walk(self, codes: Floats, k: int) -> tuple[Rows, Floats, int]:
        effort = self._tuning.ef_search
        if walks := self._compiled():
            ef = self._kept(max(effort, math.ceil(k * min(1.0, max(effort / _USUAL, _LEAST)))))
            allowed = self.hidden.bits if self.hidden else None
            return self._scored(*walks.search(codes, k, ef, self._tuning.threads, allowed))
        ef = self._kept(max(effort, k))
        library().omp_set_num_threads(self._tuning.threads)
        before, selector, how = self._parameters
        if before != ef or selector is not self.hidden.selector:
            selector = self.hidden.selector
            how = library().SearchParametersHNSW(efSearch=ef, sel=selector)
            self._parameters = (ef, selector, how)
        return self._scored(*self.links.graph.search(codes, k, params=how))

    def forget_walks(self) -> None:
        """The next search makes them anew, of the arrays as they lie then."""
        self._walks = None

    def _compiled(self) -> Walks | None:
        """None: faiss itself has to walk."""
        if self._walks is None and WALKING is not None and len(self):
            self._walks = Walks(WALKING, library(), self.links.graph)
        return self._walks

    def _kept(self, wanted: int) -> int:
        """Nodes to keep on the way to so many that are there: hidden ones to which links lead count among them."""
        if len(self.hidden) == len(self._free):
            return wanted
        return math.ceil(wanted * (len(self) - len(self._free)) / (len(self) - len(self.hidden)))

    def _scan(self, codes: Floats, k: int) -> tuple[Rows, Floats, int]:
        how = library().SearchParameters(sel=self.hidden.selector)
        return self._scored(*self.links.graph.storage.search(codes, k, params=how))

    def _scored(self, products: Floats, nodes: Rows, missing: int | None = None) -> tuple[Rows, Floats, int]:
        """`missing`: how many nodes are padding; None: they are to be counted. It comes with the answer."""
        scores = self.rounding.scores(products)
        missing = int(np.count_nonzero(nodes < 0)) if missing is None else missing
        if missing:
            there = nodes >= 0
            scores, nodes = np.where(there, scores, np.float32(-np.inf)), np.where(there, nodes, NO_ROW)
        return nodes, scores, missing

    def vectors(self, nodes: Rows) -> Floats:
        library().omp_set_num_threads(self._tuning.threads)
        codes: Floats = self.links.graph.reconstruct_batch(nodes)
        return self.rounding.vectors(codes)

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning

    def save(self, path: Path) -> None:
        int8_file.write(path, self.links.graph, self.rounding.scale, self.hidden.nodes)
