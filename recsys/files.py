"""Files that are whole or not there at all, and what tells that they are."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recsys.errors import VersionError


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace(path: Path, content: bytes) -> None:
    """All of it or nothing, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    sync(new)
    new.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """What is renamed into place must be on the disk first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Drafts:
    """Folders in the making: hidden, and kept when a build dies so that the same build goes on where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One build at a time: VersionError while another one is under way. Ends with the process that holds it."""
        with self._open("lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise VersionError("another build is under way; wait for it") from None
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """CURRENT is read, changed and written by one process after another."""
        with self._open("current.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _open(self, name: str) -> IO[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return (self.folder / name).open("w")

    @contextmanager
    def draft(self, key: str) -> Iterator[Path]:
        """The folder of the build that `key` stands for. To be used within `alone`.

        When it is left in order the folder is gone, and so are those that earlier builds left behind. A build that
        failed its checks would fail again: its folder goes as well. After anything else it stays.
        """
        folder = self.folder / key
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        except VersionError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for left in self.folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            elif left.suffix == ".json":
                left.unlink()
