"""Walks of a faiss graph over bytes by `walking.c`, which asks the memory for vectors ahead.

They give the same nodes and products as faiss itself to the last bit, in two thirds of the time (docs/benchmarks.md).
`walking` is compiled when the project is installed. Where it was not, faiss walks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from recsys.compiled import compiled
from recsys.datatypes import Floats, Rows
from recsys.index.int8_codes import SMALLEST, Rounding

if TYPE_CHECKING:
    import faiss

PLAIN, AVX2, VNNI = range(3)
"""Which instructions a product may take, where the processor has them; all give the same."""

Bits = npt.NDArray[np.uint8]


class _Walking(Protocol):
    """`walking.c`. `starts` says where the links of each level begin behind a node's offset. Of queries and of the two
    arrays that it fills, the rows are contiguous. ValueError where arrays do not fit each other.
    """

    def walk(
        self, codes: Bits, links: npt.NDArray[np.int32], offsets: npt.NDArray[np.uint64], starts: npt.NDArray[np.int32],
        entry: int, queries: Floats, k: int, ef: int, threads: int, instructions: int, allowed: Bits | None,
        scores: Floats, nodes: Rows, /,
    ) -> int: ...  # fmt: skip

    def round(self, queries: Floats, least: float, scale: float, codes: Floats, longer: Floats, /) -> None: ...


WALKING: _Walking | None = compiled("recsys.index.walking")
"""None: faiss walks."""


class Walks:
    """Walks of a graph as it is now: what is added later needs another one."""

    def __init__(self, walking: _Walking, library: Any, graph: faiss.IndexHNSWSQ) -> None:
        """`library`: faiss."""
        self._walking = walking
        self._graph = graph
        """Kept, for the arrays are its memory."""
        hnsw, codes = graph.hnsw, library.downcast_index(graph.storage).codes
        self._entry = int(hnsw.entry_point)
        self._codes: Bits = library.rev_swig_ptr(codes.data(), codes.size())
        self._links = library.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
        self._offsets = library.rev_swig_ptr(hnsw.offsets.data(), hnsw.offsets.size())
        levels = library.vector_to_array(hnsw.cum_nneighbor_per_level)[: hnsw.max_level + 2]
        self._starts = levels.astype(np.int32)

    def questions(self, queries: Floats, rounding: Rounding) -> tuple[Floats, Floats]:
        """Those of the rounding, by one call for its seven of numpy."""
        codes, longer = np.empty(queries.shape, np.float32), np.empty((len(queries), 1), np.float32)
        scale = rounding.scale or 1.0
        self._walking.round(np.ascontiguousarray(queries, np.float32), SMALLEST, scale, codes, longer)
        return codes, longer

    def search(
        self, codes: Floats, k: int, ef: int, threads: int, allowed: Bits | None, instructions: int = VNNI
    ) -> tuple[Floats, Rows, int]:
        """(m, d) queries, whole numbers from -127 to 127 -> (m, k) products and nodes, best first, padded with -1; and
        how many are padding.

        `ef`: nodes that a walk keeps in sight; under k it may be, and then fewer of the last of them are right.
        `allowed`: a bit for each node that may be given; nodes without a bit may not. None: all may.
        """
        shape = (len(codes), k)
        products, nodes = np.empty(shape, np.float32), np.empty(shape, np.int64)
        missing = self._walking.walk(
            self._codes, self._links, self._offsets, self._starts, self._entry,
            np.ascontiguousarray(codes, np.float32), k, ef, threads, instructions, allowed, products, nodes,
        )  # fmt: skip
        return products, nodes, missing
