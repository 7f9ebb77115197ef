"""Named arrays in one file that a process maps into memory: it takes no time to open, and its pages are shared.

The file is a magic number, the length of a header, the header as JSON, and the arrays, each at a multiple of 64 bytes.
A `.npz` file could not be mapped, and a file for each array would make twenty of a shard. Large arrays are mapped with
room behind them, see `mapped_room.py`: a column that adds its first value copies nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from recsys.index.mapped_room import map_with_room

_MAGIC = b"recsys-1"
_ALIGNED = 64
_BLOCK = 1 << 24
"""Bytes written at a time: what is written of a map stays in memory no longer than that."""
ROOMY = 1 << 20
"""Bytes of an array that gets room: a smaller one is copied in less than a millisecond."""

Array = npt.NDArray[Any]


def write_arrays(path: Path, arrays: Mapping[str, Array], **facts: Any) -> None:
    """Write the arrays, and some `facts` that JSON can hold."""
    places: dict[str, int] = {}
    end = 0
    for name, array in arrays.items():
        places[name] = _aligned(end)
        end = places[name] + array.nbytes
    entries = {n: {"dtype": a.dtype.str, "shape": a.shape, "at": places[n]} for n, a in arrays.items()}
    header = orjson.dumps({"facts": facts, "arrays": entries, "bytes": end})
    start = _aligned(len(_MAGIC) + 8 + len(header))
    with path.open("wb") as file:
        file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        for name, array in arrays.items():
            file.write(bytes(start + places[name] - file.tell()))
            plain = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            for first in range(0, len(plain), _BLOCK):
                file.write(plain[first : first + _BLOCK].data)


def map_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the facts. What is changed in an array stays in this process (copy on write).

    Raises ValueError for a file of another kind or of another length, and OSError.
    """
    with path.open("rb") as file:
        magic, size = file.read(len(_MAGIC)), int.from_bytes(file.read(8), "little")
        if magic != _MAGIC or size > path.stat().st_size:
            raise ValueError(f"{path.name} is not a file of arrays")
        header = orjson.loads(file.read(size))
    start = _aligned(len(_MAGIC) + 8 + size)
    if header["bytes"] and path.stat().st_size != start + header["bytes"]:
        raise ValueError(f"{path.name} is not as long as its header says")
    arrays: dict[str, Array] = {}
    # A plain view: numpy's memmap class does Python work at every use.
    whole = np.asarray(np.memmap(path, np.uint8, "c")) if header["bytes"] else np.zeros(0, np.uint8)
    with path.open("rb") as file:
        for name, entry in header["arrays"].items():
            kind, first = np.dtype(entry["dtype"]), start + entry["at"]
            count = int(np.prod(entry["shape"], dtype=np.int64)) * kind.itemsize
            roomy = map_with_room(file.fileno(), first, count, count) if count >= ROOMY else None
            plain = whole[first : first + count] if roomy is None else roomy
            arrays[name] = plain.view(kind).reshape(entry["shape"])
    return arrays, header["facts"]


def _aligned(at: int) -> int:
    return -(-at // _ALIGNED) * _ALIGNED
