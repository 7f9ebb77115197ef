"""Large memory of an index lies on huge pages, where the kernel has them and they are not ruled out."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import numpy as np
import pytest

from recsys.index import huge_pages
from recsys.index.huge_pages import added

LARGE = 32 << 20


def flags(address: int) -> str:
    """Of the mapping of this process that holds the address."""
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            here = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif here and line.startswith("VmFlags:"):
            return line
    return ""


def address(mapped: mmap.mmap) -> int:
    return int(np.frombuffer(mapped, np.uint8).ctypes.data)


@pytest.mark.skipif(not huge_pages.allowed(), reason="this kernel has no huge pages, or they are ruled out")
def test_what_is_new_and_large_is_advised() -> None:
    """What was there before is not."""
    before = mmap.mmap(-1, LARGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with huge_pages.huge_pages(LARGE):
        after = mmap.mmap(-1, LARGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        after[:] = b"x" * LARGE
    assert " hg" in flags(address(after) + LARGE // 2)
    assert " hg" not in flags(address(before) + LARGE // 2)
    assert after[:3] == after[-3:] == b"xxx"


def test_nothing_is_asked_where_huge_pages_are_ruled_out(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the machine's operator, or by a system without them."""
    setting = tmp_path / "enabled"
    monkeypatch.setattr(huge_pages, "ENABLED", setting)
    monkeypatch.setattr(huge_pages, "anonymous", lambda: pytest.fail("it looked"))
    with huge_pages.huge_pages(LARGE):
        pass
    setting.write_text("always madvise [never]\n")
    with huge_pages.huge_pages(LARGE):
        pass


def test_nothing_is_looked_for_where_little_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of some thousand items would wait for it."""
    monkeypatch.setattr(huge_pages, "anonymous", lambda: pytest.fail("it looked"))
    with huge_pages.huge_pages(1 << 20):
        pass


def test_mappings_that_the_kernel_joined_count_by_what_came() -> None:
    """A new mapping beside an old one is seen as one that grew."""
    assert added([(10, 20), (30, 40)], [(10, 20), (25, 50), (60, 70)]) == [(25, 30), (40, 50), (60, 70)]
    assert added([(10, 20)], [(5, 20)]) == [(5, 10)]
    assert added([(10, 20)], [(10, 20)]) == []
    assert added([], [(1, 2)]) == [(1, 2)]
    assert added([(0, 100)], [(10, 20)]) == []
