"""Where versions lie: a folder, or an object store behind an fsspec URL that is read through a folder on this machine.

fsspec stands between because one interface of it covers s3://, gs://, az:// and some thirty more, each by a package of
its own (s3fs, gcsfs, adlfs), and Ray and pandas use the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fsspec.core import url_to_fs

from recsys.errors import VersionError
from recsys.files import replace, sync, whole

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
_POLL_S = 1.0
"""Seconds for which CURRENT of an object store is taken as read: replicas ask several times a second."""


class Storage(Protocol):
    """Every method raises OSError when the storage cannot be reached or refuses."""

    folder: Path
    """On this machine: the versions themselves, or copies of them."""
    shared: bool
    """Whether several machines may publish into it at once."""

    def versions(self) -> list[str]:
        """Names of what is published."""

    def read(self, name: str, *, fresh: bool = False) -> bytes:
        """A small file, such as `CURRENT` or `v1/manifest.json`. Raises FileNotFoundError.

        `fresh`: as it is now, for who is about to change it.
        """

    def write(self, name: str, content: bytes) -> None:
        """Replace a small file: readers see the old one or the new one."""

    def fetch(self, version: str, files: Iterable[str], *, again: bool = False) -> None:
        """Have these files of a version under `folder`. `again`: what is there turned out to be damaged."""

    def publish(self, draft: Path, version: str) -> None:
        """Make a finished draft visible, all at once. Raises OSError when there is a version of that name."""

    def remove(self, version: str) -> None:
        """Delete a version, its manifest first."""


def storage(where: str | Path, cache: Path | None = None) -> Storage:
    """`where`: a folder, or a URL; `cache`: the folder for copies of what a URL holds."""
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

    def read(self, name: str, *, fresh: bool = False) -> bytes:  # noqa: ARG002 - it always is
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        replace(self.folder / name, content)

    def fetch(self, version: str, files: Iterable[str], *, again: bool = False) -> None:
        """They lie here already."""

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
    """An object appears whole or not at all, and a version with its manifest, which is written last."""

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
        with self._reached():
            self._fs.invalidate_cache()
            return [found.split("/")[-2] for found in self._fs.glob(f"{self._root}/*/{MANIFEST}")]

    def read(self, name: str, *, fresh: bool = False) -> bytes:
        if name != CURRENT:
            with self._reached():
                return bytes(self._fs.cat_file(self._at(name)))
        if fresh or self._current is None or time.monotonic() - self._current[0] > _POLL_S:
            with self._reached():
                self._fs.invalidate_cache()
                self._current = (time.monotonic(), bytes(self._fs.cat_file(self._at(name))))
        return self._current[1]

    def write(self, name: str, content: bytes) -> None:
        self._current = None
        with self._reached():
            self._fs.pipe_file(self._at(name), content)

    def fetch(self, version: str, files: Iterable[str], *, again: bool = False) -> None:
        missing = [name for name in files if again or not (self.folder / version / name).exists()]
        if missing:
            self._forget_removed()
        for name in missing:
            path = self.folder / version / name
            with whole(path) as part, self._reached():  # replicas on one machine may fetch the same
                self._fs.get_file(self._at(f"{version}/{name}"), str(part))

    def publish(self, draft: Path, version: str) -> None:
        files = sorted((p for p in draft.rglob("*") if p.is_file()), key=lambda p: p.name == MANIFEST)
        with self._reached():
            if self._fs.exists(self._at(f"{version}/{MANIFEST}")):
                raise FileExistsError(f"{self._url} holds a version {version} already; build again")
            for path in files:
                self._fs.put_file(str(path), self._at(f"{version}/{path.relative_to(draft).as_posix()}"))
        draft.rename(self.folder / version)

    def remove(self, version: str) -> None:
        manifest = self._at(f"{version}/{MANIFEST}")
        with self._reached():
            if self._fs.exists(manifest):
                self._fs.rm_file(manifest)
            if self._fs.exists(self._at(version)):
                self._fs.rm(self._at(version), recursive=True)
        shutil.rmtree(self.folder / version, ignore_errors=True)

    def _at(self, name: str) -> Any:
        return f"{self._root}/{name}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Around every call: each store's library has errors of its own, and many of them are no OSError."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{self._url} cannot be reached: {error or type(error).__name__}") from error

    def _forget_removed(self) -> None:
        known = set(self.versions())
        for copy in self.folder.glob("[!.]*"):
            if copy.is_dir() and copy.name not in known:
                shutil.rmtree(copy, ignore_errors=True)
