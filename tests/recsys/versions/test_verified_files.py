"""Large files that need not be read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.errors import VersionError
from recsys.versions import store as stores
from recsys.versions import verified_files
from recsys.versions.build import Content
from recsys.versions.store import VersionStore
from recsys.versions.verified_files import VerifiedFiles
from tests.support.builds import build
from tests.support.world import catalogue


@pytest.fixture(autouse=True)
def small_files_count_and_clocks_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_files, "LARGE", 1)
    monkeypatch.setattr(verified_files, "SETTLED_S", -60.0)


def test_a_file_is_read_once_until_it_changes(tmp_path: Path):
    """Content, times and name all count; another checksum was not verified."""
    path, notes = tmp_path / "file", VerifiedFiles(tmp_path / "notes")
    path.write_bytes(b"one")
    assert not notes.has("v", path, "sum")
    notes.note("v", path, "sum")
    assert VerifiedFiles(tmp_path / "notes").has("v", path, "sum")
    assert not notes.has("v", path, "other")
    assert not notes.has("w", path, "sum")
    mtime = path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=(mtime, mtime))  # the change time cannot be set back
    assert not notes.has("v", path, "sum")
    path.unlink()
    assert not notes.has("v", path, "sum")


def test_a_file_that_was_just_written_is_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It could change again within the resolution of its times."""
    monkeypatch.setattr(verified_files, "SETTLED_S", 3600.0)
    path, notes = tmp_path / "file", VerifiedFiles(tmp_path / "notes")
    path.write_bytes(b"one")
    notes.note("v", path, "sum")
    assert not notes.has("v", path, "sum")


def test_notes_that_cannot_be_read_are_none(tmp_path: Path):
    path, notes = tmp_path / "file", VerifiedFiles(tmp_path / "notes")
    path.write_bytes(b"one")
    notes.note("v", path, "sum")
    for content in (b"{", b"[]"):
        (tmp_path / "notes" / "v.json").write_bytes(content)
        assert not notes.has("v", path, "sum")
    (tmp_path / "notes" / "v.json").unlink()
    (tmp_path / "notes").rmdir()
    (tmp_path / "notes").write_bytes(b"")  # no folder
    notes.note("v", path, "sum")
    assert not notes.has("v", path, "sum")


def test_a_version_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second time no file is read; what has changed since is refused; a removed version leaves no notes."""
    store = VersionStore(tmp_path / "versions")
    first, second = (build(store).publish(Content(catalogue(2))).version for _ in range(2))
    store.promote(first)
    store.verify(second)
    hashed: list[Path] = []
    right = stores.sha256
    monkeypatch.setattr(stores, "sha256", lambda path: hashed.append(path) or right(path))
    store.verify(second)
    assert not hashed
    path = store.folder(second) / "shard-1" / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(VersionError, match=r"vectors\.npy is missing or was changed"):
        store.verify(second)
    assert set(hashed) == {path}
    store.remove(second)
    assert not (tmp_path / "versions" / ".verified" / f"{second}.json").exists()
