"""Arrays in one file that is mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.index.mapped_arrays import map_arrays, write_arrays


def test_arrays_and_facts_come_back(tmp_path: Path):
    """Of any type and shape, empty ones too, each where its type may stand."""
    arrays = {
        "bytes": np.arange(7, dtype=np.uint8),
        "none": np.zeros((0, 3), np.float32),
        "table": np.arange(12, dtype=np.float64).reshape(4, 3),
        "flags": np.array([True, False]),
        "same": np.broadcast_to(np.int32(5), 4),
        "one": np.array(3, np.int64),
    }
    write_arrays(tmp_path / "a", arrays, format=1, words=["x"])
    mapped, facts = map_arrays(tmp_path / "a")
    assert facts == {"format": 1, "words": ["x"]}
    assert list(mapped) == list(arrays)
    for name, array in arrays.items():
        assert mapped[name].dtype == array.dtype
        assert mapped[name].shape == array.shape
        np.testing.assert_array_equal(mapped[name], array)
        assert mapped[name].flags.aligned


def test_changes_stay_in_the_process(tmp_path: Path):
    """A column that is changed in place changes no file."""
    write_arrays(tmp_path / "a", {"x": np.arange(5)})
    before = (tmp_path / "a").read_bytes()
    map_arrays(tmp_path / "a")[0]["x"][2] = 9
    assert (tmp_path / "a").read_bytes() == before
    assert map_arrays(tmp_path / "a")[0]["x"].tolist() == [0, 1, 2, 3, 4]


def test_nothing_at_all(tmp_path: Path):
    """A file without bytes cannot be mapped, and need not be."""
    write_arrays(tmp_path / "a", {"x": np.zeros(0)})
    assert map_arrays(tmp_path / "a")[0]["x"].shape == (0,)


@pytest.mark.parametrize("damage", ["other", "cut", "longer", "empty"])
def test_another_file_is_refused(tmp_path: Path, damage: str):
    write_arrays(tmp_path / "a", {"x": np.arange(100)})
    whole = (tmp_path / "a").read_bytes()
    content = {"other": b"x" * 500, "cut": whole[:-1], "longer": whole + b"1", "empty": b""}[damage]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="a is not"):
        map_arrays(tmp_path / "a")
