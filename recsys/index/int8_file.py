"""The file of a graph over int8 codes: what faiss writes, the numbers of hidden nodes, and an end that says of both.

Zeros stand before all that, so many that the codes, which faiss writes last, begin with a line of the processor's
cache. Where a code is some lines long, as one of 384 or 512 dimensions is, it then lies on as few as it can: a
walk of 384 or 512 dimensions takes 0.89 to 0.95 of the time. Files of older releases have no zeros there.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Rows
from recsys.index.faiss_library import library

if TYPE_CHECKING:
    import faiss

_END = struct.Struct("<8sdQQ")
"""End of a file: `_MAGIC`, the scale, and how many bytes faiss' own part and the numbers of hidden nodes take."""
_MAGIC = b"rsint8-1"
_LINE = 64
"""Bytes of a line of the cache."""


class OpenFile:
    """A file that can be read again when its name is gone. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.whole: npt.NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, "r"))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds. `graph`: a map of it."""

    file: OpenFile
    start: int
    """Where faiss' own part begins."""
    graph: faiss.IndexHNSWSQ
    scale: float
    hidden: Rows

    def copied(self) -> faiss.IndexHNSWSQ:
        """The graph in memory of its own. By the open file, for its name may be gone."""
        at = self.start

        def read(size: int) -> bytes:
            nonlocal at
            part = os.pread(self.file.handle, size, at)
            at += len(part)
            return part

        return library().read_index(library().PyCallbackIOReader(read))


def write(path: Path, graph: faiss.IndexHNSWSQ, scale: float, hidden: Rows) -> None:
    codes = int(library().downcast_index(graph.storage).codes.size())
    before = -(_size(graph) - codes) % _LINE
    with path.open("wb") as file:
        file.write(bytes(before))
        library().write_index(graph, library().PyCallbackIOWriter(file.write))
        size = file.tell() - before
        file.write(hidden.tobytes())
        file.write(_END.pack(_MAGIC, scale, size, hidden.nbytes))


def _size(graph: faiss.IndexHNSWSQ) -> int:
    """Bytes that faiss writes. It says them nowhere, so it writes once to somebody who counts: 0.16 s a gigabyte."""
    size = 0

    def count(part: bytes) -> int:
        nonlocal size
        size += len(part)
        return len(part)

    library().write_index(graph, library().PyCallbackIOWriter(count))
    return size


def read(path: Path) -> Stored:
    """Raises OSError; ValueError, RuntimeError and struct.error for another file and one that is cut short."""
    file = OpenFile(path)
    magic, scale, size, hidden = _END.unpack(file.whole[-_END.size :].tobytes())
    end = len(file.whole) - _END.size - hidden
    start = end - size
    if magic != _MAGIC or not 0 <= start < _LINE:
        raise ValueError("it has another end")
    mapped = file.whole[start:end]
    graph = library().read_index(library().ZeroCopyIOReader(library().swig_ptr(mapped), size))
    graph.referenced_objects = [mapped]  # faiss' own way to keep what an index reads
    return Stored(file, start, graph, scale, file.whole[end : end + hidden].copy().view(np.int64))
