"""Rows of columns that lie anywhere in memory, copied by `gathered.c`, which asks for the next ones ahead.

`gathered` is compiled when the project is installed. Where it was not, numpy copies the same.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from recsys.compiled import compiled

Rows = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
S = TypeVar("S", bound=np.generic)


class _Gathered(Protocol):
    """`gathered.c`. All arrays are contiguous. IndexError for rows that are not there, ValueError for arrays that do
    not fit each other.
    """

    def rows(self, array: npt.NDArray[S], rows: Rows, filled: npt.NDArray[S], /) -> None: ...
    def strings(self, blob: Bytes, offsets: Rows, rows: Rows, filled: Rows, /) -> bytes: ...


GATHERED: _Gathered | None = compiled("recsys.gathered")
"""None: numpy copies."""


def take(array: npt.NDArray[S], rows: Rows) -> npt.NDArray[S]:
    """The (m,) rows, counted from 0, of an array whose rows are long: for those of a few bytes numpy is as fast."""
    if GATHERED is None or not array.flags.c_contiguous:
        return array.take(rows, axis=0)
    filled = np.empty((len(rows), *array.shape[1:]), array.dtype)
    GATHERED.rows(array, np.ascontiguousarray(rows, np.int64), filled)
    return filled


def take_strings(blob: Bytes, offsets: Rows, rows: Rows) -> tuple[Bytes, Rows]:
    """Blob and offsets, see `StringColumn`, of those at (m,) rows, in their order."""
    filled = np.zeros(len(rows) + 1, np.int64)
    if GATHERED is not None:
        memory = GATHERED.strings(blob, offsets, np.ascontiguousarray(rows, np.int64), filled)
        return np.frombuffer(memory, np.uint8), filled
    starts = offsets.take(rows)
    sizes = offsets.take(rows + 1) - starts
    sizes.cumsum(out=filled[1:])
    # Byte j of the result stands at starts[i] + (j - filled[i]) for the string i that j lies in.
    at = (starts - filled[:-1]).repeat(sizes)
    at += np.arange(filled[-1])
    return blob.take(at), filled
