"""What a version holds of Qdrant's folder, which is made of large files that are nearly empty."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.index.base import engine
from tests.support.engines import DIMENSION, make, random_vectors

ROWS = 300


@pytest.fixture
def saved(open_engine: Callable[..., Any], tmp_path: Path) -> Callable[[], Path]:
    open_engine("qdrant", DIMENSION)

    def save() -> Path:
        index, path = make("qdrant"), tmp_path / "index.bin"
        index.add(np.arange(ROWS), random_vectors(ROWS))
        index.save(path)
        return path

    return save


def answers(path: Path) -> Any:
    loaded = engine(IndexSpec.of("qdrant")).load(path, IndexSpec.of("qdrant"), DIMENSION)
    return loaded.search(random_vectors(ROWS), 5)


def test_what_is_empty_of_its_files_is_not_kept(saved: Callable[[], Path]) -> None:
    path = saved()
    assert path.stat().st_size < 2 << 20
    assert answers(path)[0][:, 0].tolist() == list(range(ROWS))


def test_an_index_with_all_of_its_files_is_read_as_well(
    saved: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So older releases wrote it, and so it is written where the file system knows no holes."""

    def without_holes(file: int, at: int, how: int) -> int:
        size = os.fstat(file).st_size
        if how == os.SEEK_DATA and at >= size:
            raise OSError(errno.ENXIO, "nothing follows")
        return at if how == os.SEEK_DATA else size

    expected = answers(saved())
    with monkeypatch.context() as patched:
        patched.setattr(os, "lseek", without_holes)
        path = saved()
    assert path.stat().st_size > 64 << 20
    for ours, theirs in zip(answers(path), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
