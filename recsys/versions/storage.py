"""Where versions are stored: a folder, or an object store behind an fsspec URL with a local folder for copies.

fsspec has one interface for s3://, gs://, az:// and some thirty more, each in a package of its own (s3fs, gcsfs,
adlfs). Ray and pandas use it as well.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from fsspec.core import url_to_fs

from recsys.errors import VersionError
from recsys.files import reached, replace, sync, whole

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
_POLL_S = 1.0
"""Seconds for which a read of CURRENT in an object store is reused: replicas read it several times a second."""


class Storage(Protocol):
    """Every method raises OSError when the storage cannot be reached or refuses."""

    folder: Path
    """A folder on this machine with the versions, or with copies of them."""
    shared: bool
    """Whether several machines may publish into it at once."""

    def versions(self) -> list[str]:
        """Return the names of the published versions."""

    def read(self, name: str, *, fresh: bool = False) -> bytes:
        """Return a small file, such as `CURRENT` or `v1/manifest.json`. Raises FileNotFoundError.

        `fresh`: do not reuse an earlier read; for a caller that is about to change the file.
        """

    def write(self, name: str, content: bytes) -> None:
        """Replace a small file: readers see the old one or the new one."""

    def fetch(self, version: str, files: Iterable[str], *, again: bool = False) -> None:
        """Copy these files of a version to `folder` where they are missing. `again`: replace them, they are damaged."""

    def publish(self, draft: Path, version: str) -> None:
        """Make a finished draft visible, all at once. Raises OSError when a version has that name already."""

    def remove(self, version: str) -> None:
        """Delete a version, its manifest first."""


def storage(where: str | Path, cache: Path | None = None) -> Storage:
    """Return the storage at `where`, a folder or a URL. `cache`: the folder for copies of the files behind a URL.

    Raises VersionError when the URL's scheme is unknown or its package is missing.
    """
    if isinstance(where, Path) or "://" not in where:
        return Folder(Path(where))
    if where.startswith("file://"):
        return Folder(Path(where.removeprefix("file://")))
    if cache is None:
        raise ValueError("versions behind a URL need a folder for copies")
    return ObjectStore(where, cache)


class Folder:
    shared = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[str]:
        return [path.parent.name for path in self.folder.glob(f"[!.]*/{MANIFEST}")]

    def read(self, name: str, *, fresh: bool = False) -> bytes:  # noqa: ARG002 - every read is fresh
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        replace(self.folder / name, content)

    def fetch(self, version: str, files: Iterable[str], *, again: bool = False) -> None:
        """Do nothing: `folder` holds the versions themselves."""

    def publish(self, draft: Path, version: str) -> None:
        for path in draft.rglob("*"):
            if path.is_file():
                sync(path)
        draft.rename(self.folder / version)
        sync(self.folder)

    def remove(self, version: str) -> None:
        (self.folder / version / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder / version, ignore_errors=True)


class ObjectStore:
    """An object store. Objects appear atomically. The manifest is written last and makes a version visible."""

    shared = True

    def __init__(self, url: str, cache: Path) -> None:
        self.folder = cache
        self._url = url.rstrip("/")
        try:
            self._fs, self._root = url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise VersionError(f"versions_url {url}: {error}") from None
        self._current: tuple[float, bytes] | None = None

    def versions(self) -> list[str]:
        with reached(self._url):
            self._fs.invalidate_cache()
            return [path.split("/")[-2] for path in self._fs.glob(f"{self._root}/*/{MANIFEST}")]

    def read(self, name: str, *, fresh: bool = False) -> bytes:
        if name != CURRENT:
            with reached(self._url):
                return bytes(self._fs.cat_file(self._at(name)))
        if fresh or self._current is None or time.monotonic() - self._current[0] > _POLL_S:
            with reached(self._url):
                self._fs.invalidate_cache()
                self._current = (time.monotonic(), bytes(self._fs.cat_file(self._at(name))))
        return self._current[1]

    def write(self, name: str, content: bytes) -> None:
        self._current = None
        with reached(self._url):
            self._fs.pipe_file(self._at(name), content)

    def fetch(self, version: str, files: Iterable[str], *, again: bool = False) -> None:
        missing = [name for name in files if again or not (self.folder / version / name).exists()]
        if missing:
            self._forget_removed()
        for name in missing:
            path = self.folder / version / name
            with whole(path) as part, reached(self._url):  # several replicas of a machine may fetch one file
                self._fs.get_file(self._at(f"{version}/{name}"), str(part))

    def publish(self, draft: Path, version: str) -> None:
        files = sorted((p for p in draft.rglob("*") if p.is_file()), key=lambda p: p.name == MANIFEST)
        with reached(self._url):
            if self._fs.exists(self._at(f"{version}/{MANIFEST}")):
                raise FileExistsError(f"{self._url} holds a version {version} already; build again")
            for path in files:
                self._fs.put_file(str(path), self._at(f"{version}/{path.relative_to(draft).as_posix()}"))
        draft.rename(self.folder / version)

    def remove(self, version: str) -> None:
        manifest = self._at(f"{version}/{MANIFEST}")
        with reached(self._url):
            if self._fs.exists(manifest):
                self._fs.rm_file(manifest)
            if self._fs.exists(self._at(version)):
                self._fs.rm(self._at(version), recursive=True)
        shutil.rmtree(self.folder / version, ignore_errors=True)

    def _at(self, name: str) -> Any:
        return f"{self._root}/{name}"

    def _forget_removed(self) -> None:
        published = set(self.versions())
        for copy in self.folder.glob("[!.]*"):
            if copy.is_dir() and copy.name not in published:
                shutil.rmtree(copy, ignore_errors=True)
