"""Huge pages for what an index reads.

A walk jumps from vector to vector all over the index. With pages of 4 KiB the processor has hardly any of their
addresses at hand, and looks each one up in memory. hnswlib and faiss allocate within their own code, so the kernel is
asked afterwards: for what is large and new among the anonymous mappings of this process.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LEAST = 8 << 20
"""Bytes of a mapping that is looked at: a smaller index is in the processor's caches."""
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
"""linux/mman.h: use huge pages from now on; copy what is there onto huge pages now (Linux 6.1 and later)."""
_MAPS = Path("/proc/self/maps")
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_ANONYMOUS = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *$", re.MULTILINE)

Ranges = list[tuple[int, int]]


@contextmanager
def huge_pages(size: int) -> Iterator[None]:
    """What is allocated meanwhile in large pieces lies on huge pages afterwards, if the kernel has and allows them.

    `size`: how many bytes that is, about. Where they are few nothing is looked for, which takes some milliseconds.
    """
    if size < _LEAST or not allowed():
        yield
        return
    before = anonymous()
    yield
    for start, end in added(before, anonymous()):
        if end - start >= _LEAST:
            _advise(start, end)


def allowed() -> bool:
    """Whether there are huge pages here, and the operator of the machine has not ruled them out."""
    with suppress(OSError):
        return "[never]" not in ENABLED.read_text()
    return False


def anonymous() -> Ranges:
    """Where the process's own memory lies, by address."""
    return [(int(start, 16), int(end, 16)) for start, end in _ANONYMOUS.findall(_MAPS.read_text())]


def added(before: Ranges, after: Ranges) -> Ranges:
    """The parts of `after` that are not in `before`; the kernel joins new mappings with those beside them."""
    new = []
    for start, end in after:
        at = start
        for old_start, old_end in before:
            if old_end <= at or old_start >= end:
                continue
            if old_start > at:
                new.append((at, old_start))
            at = old_end
        if at < end:
            new.append((at, end))
    return new


def _advise(start: int, end: int) -> None:
    """A kernel that does not know an advice refuses it, and nothing is lost."""
    madvise = ctypes.CDLL(None).madvise
    for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE):
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)
