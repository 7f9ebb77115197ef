"""Where backups lie."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from recsys.backup.manifest import FORMAT, BackedFile, BackupManifest
from recsys.backup.store import BackupStore, room_for
from recsys.errors import BackupError


@pytest.fixture(params=["folder", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "backups") if request.param == "folder" else f"memory://{uuid4().hex}/backups"


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / uuid4().hex
    path.write_bytes(content)
    return path


def manifest(name: str, *files: BackedFile) -> BackupManifest:
    given = {"format": FORMAT, "name": name, "created_at": datetime.now(UTC), "at_ms": 0, "log": {}, "shards": 1}
    return BackupManifest(**given, routing="", current=None, versions={}, keys=0, redis=list(files), slate_log=[])


def test_a_file_is_stored_once_by_its_content(url: str, tmp_path: Path) -> None:
    store = BackupStore(url)
    path = written(tmp_path, b"content")
    file, is_new = store.put(path, "a/b")
    assert is_new
    assert store.put(path, "c") == (BackedFile(path="c", sha256=file.sha256, bytes=7), False)
    # Another process looks anew, and does not read a file whose checksum is known.
    assert BackupStore(url).put(path, "c", expected=file.sha256)[1] is False
    store.fetch(file, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"content"


def test_a_changed_file_is_not_stored_under_the_checksum_that_is_known(url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="was changed"):
        BackupStore(url).put(written(tmp_path, b"changed"), "a", expected="0" * 64)


def test_an_interrupted_backup_never_looks_whole(url: str, tmp_path: Path) -> None:
    """Its files are there and no manifest is; the next one uses them."""
    store = BackupStore(url)
    store.put(written(tmp_path, b"1"), "a")
    assert BackupStore(url).names() == []
    with pytest.raises(BackupError, match="holds no complete backup"):
        BackupStore(url).manifest()
    file, is_new = BackupStore(url).put(written(tmp_path, b"1"), "a")
    assert not is_new
    lost = BackedFile(path="lost", sha256="0" * 64, bytes=1)
    with pytest.raises(BackupError, match="has lost lost"):
        store.publish(manifest("b1", file, lost))
    assert store.names() == []
    store.publish(manifest("b1", file))
    assert BackupStore(url).manifest().name == "b1"
    with pytest.raises(BackupError, match="holds no backup 'b2'"):
        store.manifest("b2")


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    store = BackupStore(str(tmp_path / "backups"))
    file, _ = store.put(written(tmp_path, b"content"), "a")
    blob = tmp_path / "backups" / "blobs" / file.sha256[:2] / file.sha256
    assert blob.stat().st_mode & 0o077 == 0
    blob.write_bytes(b"CONTENT")
    with pytest.raises(BackupError, match="missing or damaged"):
        store.fetch(file, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    blob.unlink()
    with pytest.raises(BackupError, match="missing or damaged"):
        store.fetch(file, tmp_path / "to")
    # One that was cut short is stored again.
    blob.write_bytes(b"con")
    assert BackupStore(str(tmp_path / "backups")).put(written(tmp_path, b"content"), "a")[1] is True


def test_old_backups_go_with_the_files_that_only_they_have(url: str, tmp_path: Path) -> None:
    store = BackupStore(url)
    files = [store.put(written(tmp_path, content), "a")[0] for content in (b"1", b"2", b"3")]
    store.publish(manifest("b1", files[0], files[1]))
    store.publish(manifest("b2", files[1], files[2]))
    assert store.prune(2) == []
    assert store.prune(1) == ["b1"]
    assert store.names() == ["b2"]
    for file in files[1:]:
        store.fetch(file, tmp_path / file.sha256)
    with pytest.raises(BackupError):
        store.fetch(files[0], tmp_path / "gone")


def test_a_manifest_of_another_release_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "backups" / "backups"
    folder.mkdir(parents=True)
    (folder / "b1.json").write_text('{"format": 99}')
    with pytest.raises(BackupError, match=f"reads format {FORMAT}"):
        BackupStore(str(tmp_path / "backups")).manifest()


def test_an_unknown_scheme_is_told() -> None:
    with pytest.raises(BackupError, match="nowhere"):
        BackupStore("nowhere://bucket")


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="make room"):
        room_for(tmp_path, 1 << 60)
