"""Rows that nobody reads any more: the memory that they fill goes back to the kernel, and they read as zeros.

Rows of a table are only appended, so a table that is written again and again would grow for ever. A page (4 KiB) of a
column goes back when all rows on it are vacant. The numbers of the rows stay taken.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from recsys.columns import Column, Strings
from recsys.datatypes import Rows

_DONTNEED, _NOHUGEPAGE = 4, 15
"""linux/mman.h: forget what is in these pages; no huge pages, which would fill the gaps again."""
_AROUND = mmap.PAGESIZE // 32
"""Rows at either side of a vacant one that may be on its page: columns have 32 bytes a row or more."""


class VacantRows:
    """Of columns of one table, which one writer extends and vacates."""

    def __init__(self, first: int, columns: Sequence[Column[Any]], strings: Sequence[Strings]) -> None:
        """Row `first` of the table is the first of each column: those before it are elsewhere, and stay."""
        self._first = first
        self._columns = [*columns]
        self._strings = [*strings]
        self._vacant = Column(np.bool_)
        self._rooms: dict[int, int] = {}
        """By place of a column, the address of the room from which pages went back."""

    def add(self, rows: Rows) -> None:
        """These rows of the table are vacant. Rows before the first are passed over."""
        rows = np.sort(rows[rows >= self._first]) - self._first
        if not len(rows):
            return
        self._vacant.extend(np.zeros(max(int(rows[-1]) + 1 - len(self._vacant), 0), bool))
        self._vacant.view[rows] = True
        runs, end = [], -1
        for row in rows.tolist():
            if row >= end:
                start, end = self._run(row)
                runs.append((start, end))
        everything: list[tuple[int, int]] | None = None
        for place, column in enumerate([*self._columns, *(strings.blob for strings in self._strings)]):
            some = runs
            if self._rooms.get(place) != (there := column.room.ctypes.data):
                everything = everything or self._runs()
                some, self._rooms[place] = everything, there
                _advise(column, 0, len(column.room), _NOHUGEPAGE)
            if place >= len(self._columns):
                offsets = self._strings[place - len(self._columns)].column.offsets
                some = [(int(offsets[start]), int(offsets[end])) for start, end in some]
            for start, end in some:
                _advise(column, start, end, _DONTNEED)

    def _run(self, row: int) -> tuple[int, int]:
        """Vacant rows around this one, as far as its page may reach."""
        before = self._vacant.view[max(row - _AROUND, 0) : row][::-1]
        behind = self._vacant.view[row : row + _AROUND]
        start = row - (len(before) if before.all() else int(before.argmin()))
        return start, row + (len(behind) if behind.all() else int(behind.argmin()))

    def _runs(self) -> list[tuple[int, int]]:
        """All vacant rows."""
        edges = np.flatnonzero(np.diff(self._vacant.view.astype(np.int8), prepend=0, append=0))
        return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


@cache
def _madvise() -> Any:
    return ctypes.CDLL(None).madvise


def _advise(column: Column[Any], start: int, end: int, advice: int) -> None:
    """For the whole pages among these entries. A kernel that does not know it refuses, and nothing is lost."""
    size = column.room.strides[0]
    begin = column.room.ctypes.data
    first = -(-(begin + start * size) // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (begin + end * size) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        _madvise()(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)
