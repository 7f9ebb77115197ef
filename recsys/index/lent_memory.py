"""The arrays of a faiss graph in a map of its file, and still able to grow.

faiss reads a graph in place, but adds to none that it has not copied: 0.3 s for a million vectors of 128 dimensions,
3 s for ten million, and as much memory again. So its `std::vector`s are told of a map of the file that has room behind
it (see `mapped_room.py`), as if they had allocated that. Additions then write where they would have written, and the
kernel copies the pages that they touch.

A `std::vector` is three addresses in every common library of C++: begin, end, and end of the memory. `lendable` sees
whether it is so here. faiss must neither free nor enlarge what it was lent: `Loan.ready` moves the elements in time,
and a finalizer empties the vectors before faiss frees its graph.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.columns import with_room
from recsys.index.mapped_room import empty_room, map_with_room

if TYPE_CHECKING:
    import faiss

LEAST = 1 << 20
"""Bytes of room behind a small array."""

Bytes = npt.NDArray[np.uint8]


class Loan:
    """Memory that the vector of a graph uses. `vector`: a `MaybeOwnedVector` of faiss that is a view so far, and not
    empty.

    `memory`: (capacity,) bytes of which the vector's elements are the first.
    """

    def __init__(self, vector: Any, memory: Bytes) -> None:
        self._vector = vector
        self._memory = memory
        self._size = int(vector.byte_size()) // int(vector.size())
        self.address = int(vector.owned_data.this)
        """Of the `std::vector` itself."""

    def begin(self) -> None:
        """Let the vector use the memory. No search runs beside it."""
        self._tell(int(self._vector.size()))
        self._vector.is_owned = True
        self._vector.resize(self._vector.size())  # it looks up its elements anew

    def ready(self, more: int) -> None:
        """Make sure that so many elements more fit. Raises MemoryError."""
        count = int(self._vector.size())
        needed = (count + more) * self._size
        if needed <= len(self._memory):
            return
        memory = empty_room(2 * needed)
        if memory is None:
            raise MemoryError(f"no memory for {2 * needed} bytes of an index")
        memory[: count * self._size] = self._memory[: count * self._size]
        self._memory = memory
        self._tell(count)
        self._vector.resize(count)

    def _tell(self, count: int) -> None:
        begin = self._memory.ctypes.data
        _write(self.address, begin, begin + count * self._size, begin + len(self._memory) // self._size * self._size)


class Loans:
    """What one graph was lent."""

    def __init__(self, graph: faiss.IndexHNSWSQ, codes: Loan, links: Loan) -> None:
        self._codes, self._links = codes, links
        self._code_size = int(graph.storage.sa_code_size())
        hnsw = graph.hnsw
        self._most_links = int(hnsw.cum_nb_neighbors(hnsw.assign_probas.size()))
        """Of a node in all layers."""
        weakref.finalize(graph, _empty, [codes.address, links.address])

    def begin(self) -> None:
        self._codes.begin()
        self._links.begin()

    def ready(self, nodes: int) -> None:
        """Make sure that so many nodes more fit. Raises MemoryError."""
        self._codes.ready(nodes * self._code_size)
        self._links.ready(nodes * self._most_links)


def lent(graph: faiss.IndexHNSWSQ, codes: Any, whole: Bytes, handle: int) -> Loans | None:
    """What the graph, which reads its file in place, can use from `Loans.begin` on. None: it has to be copied.

    `codes`: the vector of its codes. `whole`: the map of the file that the graph reads. `handle`: the open file.
    """
    if not lendable():
        return None
    loans = []
    for vector in (codes, graph.hnsw.neighbors):
        size = int(vector.byte_size())
        if vector.is_owned or not size:
            return None
        memory = map_with_room(handle, int(vector.data()) - whole.ctypes.data, size, max(size, LEAST))
        if memory is None:
            return None
        loans.append(Loan(vector, with_room(memory)))
    return Loans(graph, *loans)


@cache
def lendable() -> bool:
    """Whether a `std::vector` is the three addresses that it is taken for."""
    import faiss  # noqa: PLC0415 - see `base.Engine`

    vector = faiss.UInt8Vector()
    vector.resize(5)
    vector.resize(3)
    begin, end, limit = _words(int(vector.this))
    data = int(vector.data())
    return (begin, end, limit) == (data, data + 3, data + 5)


def _words(address: int) -> tuple[int | None, ...]:
    return tuple((ctypes.c_void_p * 3).from_address(address))


def _write(address: int, *words: int) -> None:
    (ctypes.c_void_p * 3).from_address(address)[:] = [*words]


def _empty(addresses: list[int]) -> None:
    for address in addresses:
        _write(address, 0, 0, 0)
