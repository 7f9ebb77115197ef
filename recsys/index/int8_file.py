"""The file of a graph over int8 codes: what faiss writes, the numbers of hidden nodes, and an end that says of both."""

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
    graph: faiss.IndexHNSWSQ
    scale: float
    hidden: Rows


def write(path: Path, graph: faiss.IndexHNSWSQ, scale: float, hidden: Rows) -> None:
    library().write_index(graph, str(path))
    with path.open("ab") as file:
        size = file.tell()
        file.write(hidden.tobytes())
        file.write(_END.pack(_MAGIC, scale, size, hidden.nbytes))


def read(path: Path) -> Stored:
    """Raises OSError; ValueError, RuntimeError and struct.error for another file and one that is cut short."""
    file = OpenFile(path)
    magic, scale, size, hidden = _END.unpack(file.whole[-_END.size :].tobytes())
    if magic != _MAGIC or size + hidden + _END.size != len(file.whole):
        raise ValueError("it has another end")
    mapped = file.whole[:size]
    graph = library().read_index(library().ZeroCopyIOReader(library().swig_ptr(mapped), size))
    graph.referenced_objects = [mapped]  # faiss' own way to keep what an index reads
    return Stored(file, graph, scale, file.whole[size : size + hidden].copy().view(np.int64))
