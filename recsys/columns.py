"""Columns: strings in two buffers, and arrays that one writer appends to while readers hold views of what was there."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.datatypes import Keys, Rows
from recsys.gathering import take_strings

S = TypeVar("S", bound=np.generic)


class StringColumn(msgspec.Struct, frozen=True):
    """n strings in two buffers, so that a thousand of them cross a process as one copy.

    `blob` is (bytes,) uint8, UTF-8; `offsets` is (n + 1,) int64, string i is `blob[offsets[i]:offsets[i + 1]]`.
    """

    blob: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[str]) -> StringColumn:
        encoded = [s.encode() for s in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def concat(cls, columns: Sequence[StringColumn]) -> StringColumn:
        columns = [column.packed() for column in columns]
        shifts = np.cumsum([0, *(len(c.blob) for c in columns)])
        offsets = [c.offsets[:-1] + s for c, s in zip(columns, shifts[:-1], strict=True)]
        return cls(np.concatenate([c.blob for c in columns]), np.concatenate([*offsets, shifts[-1:]]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes().decode()

    def strings(self) -> list[str]:
        """All of them, decoded."""
        memory, ends = self.blob.tobytes(), self.offsets.tolist()
        return [memory[start:end].decode() for start, end in itertools.pairwise(ends)]

    def take(self, rows: Rows) -> StringColumn:
        """Those at (m,) rows, in their order."""
        return StringColumn(*take_strings(self.blob, self.offsets, rows))

    def picked(self, rows: Rows) -> list[str]:
        """Those at (m,) rows, decoded: a few of many, which are read where they stand."""
        memory = self.blob.data
        starts, ends = self.offsets.take(rows).tolist(), self.offsets.take(rows + 1).tolist()
        return [str(memory[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]

    def at(self, rows: Rows) -> StringRows:
        """Those at (m,) rows, without a copy of their bytes."""
        return StringRows(self.blob, self.offsets, rows)

    def packed(self) -> StringColumn:
        """The same with all that the buffers hold."""
        return self

    @property
    def buffers(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The blob and the offsets of these strings alone."""
        return self.blob, self.offsets


class StringRows(StringColumn, frozen=True):
    """Some strings of a column, in an order of their own, which are read where they stand. Only they are pickled."""

    rows: Rows
    """(m,) of the column."""

    def packed(self) -> StringColumn:
        return StringColumn(self.blob, self.offsets).take(self.rows)

    @property
    def buffers(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        packed = self.packed()
        return packed.blob, packed.offsets

    def __reduce__(self) -> tuple[type[StringColumn], tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
        return StringColumn, self.buffers

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> str:
        row = self.rows[i]
        return self.blob[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()

    def take(self, rows: Rows) -> StringRows:
        return StringRows(self.blob, self.offsets, self.rows[rows])

    def picked(self, rows: Rows) -> list[str]:
        return StringColumn.picked(self, self.rows[rows])

    def strings(self) -> list[str]:
        return StringColumn.picked(self, self.rows)


NO_STRINGS = StringColumn(np.zeros(0, np.uint8), np.zeros(1, np.int64))


def lengths(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) sizes of n parts of which part i stands at `offsets[i]:offsets[i + 1]`: np.diff, without its overhead."""
    return offsets[1:] - offsets[:-1]


def find(keys: Keys, wanted: Keys) -> Rows:
    """Return the (n,) int64 position of each wanted key in the sorted `keys`, -1 where it is missing."""
    if not len(keys):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


class Room(mmap.mmap):
    """Memory of this process that holds the bytes of an array, with room behind them. See `index/mapped_room.py`."""

    start = 0
    """Where the array begins."""
    filled = 0
    """Bytes of the array."""
    taken = False
    """Whether somebody writes into the room already."""


def with_room(values: npt.NDArray[S]) -> npt.NDArray[S]:
    """The same array with the room behind it, which then belongs to the caller. Where the array has none, or it is
    taken, the array itself.
    """
    whole = values.base
    room = getattr(getattr(whole, "base", None), "obj", None)
    if not isinstance(room, Room) or room.taken or values.nbytes != room.filled or whole is None:
        return values
    room.taken = True
    size = values.nbytes // len(values)
    fits = (len(whole) - room.start) // size
    longer: npt.NDArray[S] = whole[room.start : room.start + fits * size].view(values.dtype)
    return longer.reshape(fits, *values.shape[1:])


class Column(Generic[S]):
    """A numpy array that doubles its room when full. A view taken earlier stays valid and keeps its length.

    It may begin with an array of somebody else, such as a map of a file. That is copied when the first value is added,
    unless it has a `Room`.
    """

    def __init__(self, dtype: type[S], width: tuple[int, ...] = ()) -> None:
        self._data: npt.NDArray[S] = np.empty((16, *width), dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def view(self) -> npt.NDArray[S]:
        length = self._length  # before the array: a reader may find more room than rows, never fewer
        return self._data[:length]

    def adopt(self, values: npt.NDArray[S]) -> None:
        """Fill an empty column with an array of its type, which is not copied."""
        self._data, self._length = with_room(values), len(values)

    def lend(self, room: npt.NDArray[S]) -> None:
        """Let an empty column use this array of its type and width: until it is full, nothing is copied."""
        self._data = room

    def extend(self, values: npt.ArrayLike) -> None:
        added = np.asarray(values, self._data.dtype)
        end = self._length + len(added)
        if end > len(self._data):
            room = np.empty((max(end, 2 * len(self._data)), *self._data.shape[1:]), self._data.dtype)
            room[: self._length] = self.view
            self._data = room
        self._data[self._length : end] = added
        self._length = end  # last: a reader never sees rows that are not filled

    def append(self, value: S | float) -> None:
        """`extend` by one value, in a tenth of the time."""
        if self._length == len(self._data):
            self.extend(np.array([value], self._data.dtype))
            return
        self._data[self._length] = value
        self._length += 1

    @property
    def room(self) -> npt.NDArray[S]:
        """(room, ...) all of the array that its rows are the first of; another one once it was full."""
        return self._data


class Part(Generic[S]):
    """One of the columns of a `Column` whose rows have several: what is read together lies together."""

    def __init__(self, whole: Column[S], place: int) -> None:
        self._whole, self._place = whole, place

    def __len__(self) -> int:
        return len(self._whole)

    @property
    def view(self) -> npt.NDArray[S]:
        return self._whole.view[:, self._place]


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
    def blob(self) -> Column[np.uint8]:
        """The bytes of all of them."""
        return self._blob

    @property
    def column(self) -> StringColumn:
        offsets = self._offsets.view  # before the blob: a reader may find more bytes than offsets, never fewer
        return StringColumn(self._blob.view, offsets)

    def adopt(self, strings: StringColumn) -> None:
        """Fill an empty column with these, which are not copied."""
        self._blob.adopt(strings.blob)
        self._offsets.adopt(strings.offsets)

    def extend(self, strings: Sequence[str]) -> None:
        added = StringColumn.of(strings)
        start = len(self._blob)
        self._blob.extend(added.blob)
        self._offsets.extend(added.offsets[1:] + start)

    def take(self, rows: Rows) -> StringColumn:
        return self.column.take(rows)

    def at(self, rows: Rows) -> StringRows:
        """See `StringColumn.at`."""
        return self.column.at(rows)
