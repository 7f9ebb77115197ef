"""A part of a file, mapped into memory with room behind it.

What is changed, and what is added behind it, stays in this process: the kernel copies the pages of a file that are
written to, and no others. So an array of a version's files grows without being copied, and replicas of a machine go on
sharing what none of them has changed. Room that nobody has written to takes no memory.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.columns import Room

_FIXED, _NORESERVE = 0x10, 0x4000
"""linux/mman.h: map at this address and no other; do not count memory that nobody has written to. Kernels whose
operator forbids overcommitment count it all the same, and may refuse."""


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_int64]
    libc.mmap.restype = ctypes.c_void_p
    return libc


def map_with_room(handle: int, at: int, size: int, room: int) -> npt.NDArray[np.uint8] | None:
    """(size,) bytes of an open file from `at` on, which may be written to, and for which `recsys.columns.with_room`
    gives `room` bytes more. None: the kernel has no memory to promise for it.

    `size` is at least 1. The file may be closed, and its name may go.
    """
    start = at % mmap.PAGESIZE
    whole = empty_room(start + size + room)
    if whole is None:
        return None
    address, kinds = whole.ctypes.data, mmap.MAP_PRIVATE | _FIXED | _NORESERVE
    there = _libc().mmap(address, start + size, mmap.PROT_READ | mmap.PROT_WRITE, kinds, handle, at - start)
    if there != address:
        return None
    own = getattr(whole.base, "obj", None)
    assert isinstance(own, Room)
    own.start, own.filled = start, size
    return whole[start : start + size]


def empty_room(size: int) -> npt.NDArray[np.uint8] | None:
    """(size,) zeros, of which those take memory that are written to. None: as `map_with_room`."""
    try:
        room = Room(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    except (OSError, MemoryError):
        return None
    return np.frombuffer(room, np.uint8)
