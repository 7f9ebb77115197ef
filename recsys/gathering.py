"""Rows of columns that lie anywhere in memory, copied by `gathered.c`, which asks for the next ones ahead.

`gathered` is compiled when the project is installed. Where it was not, numpy copies the same.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
S = TypeVar("S", bound=np.generic)


class _Gathered(Protocol):
    """`gathered.c`. All arrays are contiguous. IndexError for rows that are not there, ValueError for arrays that do
    not fit each other.
    """

    def rows(self, array: npt.NDArray[S], rows: Rows, filled: npt.NDArray[S], /) -> None: ...
    def strings(self, blob: Bytes, offsets: Rows, rows: Rows, filled: Rows, /) -> bytes: ...


@cache
def compiled() -> _Gathered | None:
    try:
        return cast("_Gathered", import_module("recsys.gathered"))
    except ImportError:
        return None


def take(array: npt.NDArray[S], rows: Rows) -> npt.NDArray[S]:
    """The (m,) rows, counted from 0, of an array whose rows are long: for those of a few bytes numpy is as fast."""
    gathered = compiled()
    if gathered is None or not array.flags.c_contiguous:
        return array.take(rows, axis=0)
    filled = np.empty((len(rows), *array.shape[1:]), array.dtype)
    gathered.rows(array, np.ascontiguousarray(rows, np.int64), filled)
    return filled


def take_strings(blob: Bytes, offsets: Rows, rows: Rows) -> tuple[Bytes, Rows]:
    """Blob and offsets, see `StringColumn`, of those at (m,) rows, in their order."""
    filled, gathered = np.zeros(len(rows) + 1, np.int64), compiled()
    if gathered is not None:
        memory = gathered.strings(blob, offsets, np.ascontiguousarray(rows, np.int64), filled)
        return np.frombuffer(memory, np.uint8), filled
    starts = offsets.take(rows)
    sizes = offsets.take(rows + 1) - starts
    sizes.cumsum(out=filled[1:])
    # Byte j of the result stands at starts[i] + (j - filled[i]) for the string i that j lies in.
    at = (starts - filled[:-1]).repeat(sizes)
    at += np.arange(filled[-1])
    return blob.take(at), filled
