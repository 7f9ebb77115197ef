"""Versions in the making: hidden folders, kept when a build dies so that the same build goes on where it was."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recsys.errors import VersionError


class Drafts:
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
