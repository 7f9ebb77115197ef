"""Where backups lie: a folder, or an object store behind an fsspec URL.

<url>/backups/<name>.json     the manifest of a backup, written last
<url>/blobs/ab/abcdef…        a file by its SHA-256, which backups share

A file that is there by its checksum is not stored again: so each backup is complete, and costs what has changed.
"""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from recsys.backup.manifest import FORMAT, BackedFile, BackupManifest
from recsys.errors import BackupError
from recsys.files import reached, replace, sha256, whole

_BLOB = re.compile(r"/blobs/([0-9a-f]{2})/\1[0-9a-f]{62}$")


class BackupStore:
    """Every method raises OSError when the store cannot be reached or refuses."""

    def __init__(self, url: str) -> None:
        """`url`: a folder or an fsspec URL. Raises BackupError for a scheme that is unknown or lacks its package."""
        self.url = url.rstrip("/") or "/"
        try:
            self._fs, root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise BackupError(f"{url}: {error}") from None
        self._root = str(root).rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)
        self._sizes: dict[str, int] | None = None

    def names(self) -> list[str]:
        """Return the names of the complete backups, oldest first."""
        files = self._listed("backups")
        return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))

    def manifest(self, name: str | None = None) -> BackupManifest:
        """Return a backup's manifest. None: of the newest one.

        Raises BackupError when there is no such backup, or it cannot be read.
        """
        names = self.names()
        if not names:
            raise BackupError(f"{self.url} holds no complete backup; make one with `recsys backup`")
        name = names[-1] if name is None else name
        if name not in names:
            raise BackupError(f"{self.url} holds no backup {name!r}; `recsys backups` lists them")
        with reached(self.url):
            content = bytes(self._fs.cat_file(self._at(f"backups/{name}.json")))
        try:
            return BackupManifest.model_validate_json(content)
        except ValidationError as error:
            raise BackupError(
                f"backup {name} is damaged, or of another release than this one, which reads format {FORMAT} "
                f"({error.errors()[0]['msg']}): restore it with the release that wrote it, or take another one"
            ) from None

    def new_name(self) -> str:
        return datetime.now(UTC).strftime("b%Y%m%d-%H%M%S-%f")

    def put(self, path: Path, name: str, expected: str | None = None) -> tuple[BackedFile, bool]:
        """Store a local file as `name`, and return whether it had to be written.

        `expected`: its checksum, where the caller knows it: then the file is not read where the store has it. Raises
        BackupError when its content has another one.
        """
        size = path.stat().st_size
        if expected is not None and self._has(expected, size):
            return BackedFile(path=name, sha256=expected, bytes=size), False
        digest = sha256(path)
        if expected is not None and digest != expected:
            raise BackupError(f"{path} was changed (its checksum differs), and is not backed up")
        file = BackedFile(path=name, sha256=digest, bytes=size)
        if self._has(digest, size):
            return file, False
        with reached(self.url):
            if self._local:
                with whole(Path(self._blob(digest)), mode=0o600) as part:
                    shutil.copyfile(path, part)
            else:
                self._fs.put_file(str(path), self._blob(digest))
        self._blobs()[digest] = size
        return file, True

    def fetch(self, file: BackedFile, to: Path) -> None:
        """Copy a stored file to this machine. Raises BackupError when it is missing or damaged."""
        if to.exists() and to.stat().st_size == file.bytes and sha256(to) == file.sha256:
            return
        with whole(to, mode=0o600) as part:
            with reached(self.url):
                try:
                    self._fs.get_file(self._blob(file.sha256), str(part))
                except FileNotFoundError:
                    part.touch()
            if sha256(part) != file.sha256:
                raise BackupError(
                    f"{self._blob(file.sha256)}, the copy of {file.path}, is missing or damaged: take another backup"
                )

    def publish(self, manifest: BackupManifest) -> None:
        """Make a backup complete. Raises BackupError when a file of it is gone meanwhile."""
        self._sizes = None
        if lost := [file.path for file in manifest.files() if not self._has(file.sha256, file.bytes)]:
            raise BackupError(f"{self.url} has lost {lost[0]} while the backup was made: start it again")
        content = manifest.model_dump_json(indent=1).encode()
        path = self._at(f"backups/{manifest.name}.json")
        with reached(self.url):
            if self._local:
                replace(Path(path), content, mode=0o600)
            else:
                self._fs.pipe_file(path, content)

    def prune(self, keep: int) -> list[str]:
        """Delete all but the newest backups, and every file that none of these has. Return the names of what went.

        No other backup into the same store may be under way.
        """
        names = self.names()
        gone = names[: max(0, len(names) - keep)]
        needed = {file.sha256 for name in names[len(gone) :] for file in self.manifest(name).files()}
        with reached(self.url):
            for name in gone:
                self._fs.rm_file(self._at(f"backups/{name}.json"))
        self._sizes = None
        for digest in self._blobs().keys() - needed:
            with reached(self.url):
                self._fs.rm_file(self._blob(digest))
        self._sizes = None
        return gone

    def _has(self, digest: str, size: int) -> bool:
        """Whether the file is stored whole. One that was cut short has another size, and is written again."""
        return self._blobs().get(digest) == size

    def _blobs(self) -> dict[str, int]:
        if self._sizes is None:
            with reached(self.url):
                self._fs.invalidate_cache()
                try:
                    paths = self._fs.find(self._at("blobs"), detail=True)
                except FileNotFoundError:
                    paths = {}
            # A file that a killed backup was writing has a longer path.
            stored = {path: int(about.get("size") or 0) for path, about in paths.items() if _BLOB.search(path)}
            self._sizes = {path.rsplit("/", 1)[-1]: size for path, size in stored.items()}
        return self._sizes

    def _listed(self, folder: str) -> list[str]:
        with reached(self.url):
            self._fs.invalidate_cache()
            try:
                return [str(path).rsplit("/", 1)[-1] for path in self._fs.ls(self._at(folder), detail=False)]
            except FileNotFoundError:
                return []

    def _blob(self, digest: str) -> str:
        return self._at(f"blobs/{digest[:2]}/{digest}")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def private(folder: Path) -> Path:
    """Make a folder that only its owner may open, if it is not there, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def room_for(folder: Path, size: int) -> None:
    """Raise BackupError when a folder's disk has not so many bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise BackupError(
            f"{folder} has {free >> 20} MiB free and {size >> 20} MiB are needed: make room, or mount a disk"
        )
