"""Columns that grow: appended by one writer while readers hold views of what was there before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Rows, StringColumn

S = TypeVar("S", bound=np.generic)


class Column(Generic[S]):
    """A numpy array that doubles its room when full. A view taken earlier stays valid and keeps its length."""

    def __init__(self, dtype: type[S], width: tuple[int, ...] = ()) -> None:
        self._data: npt.NDArray[S] = np.empty((16, *width), dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def view(self) -> npt.NDArray[S]:
        length = self._length  # before the array: a reader may find more room than rows, never fewer
        return self._data[:length]

    def extend(self, values: npt.ArrayLike) -> None:
        added = np.asarray(values, self._data.dtype)
        end = self._length + len(added)
        if end > len(self._data):
            room = np.empty((max(end, 2 * len(self._data)), *self._data.shape[1:]), self._data.dtype)
            room[: self._length] = self.view
            self._data = room
        self._data[self._length : end] = added
        self._length = end  # last: a reader never sees rows that are not filled


class Strings:
    """A growing StringColumn."""

    def __init__(self) -> None:
        self._blob = Column(np.uint8)
        self._offsets = Column(np.int64)
        self._offsets.extend([0])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> str:
        return self.column[row]

    @property
    def column(self) -> StringColumn:
        offsets = self._offsets.view  # before the blob: a reader may find more bytes than offsets, never fewer
        return StringColumn(self._blob.view, offsets)

    def extend(self, strings: Sequence[str]) -> None:
        added = StringColumn.of(strings)
        start = len(self._blob)
        self._blob.extend(added.blob)
        self._offsets.extend(added.offsets[1:] + start)

    def take(self, rows: Rows) -> StringColumn:
        return self.column.take(rows)
