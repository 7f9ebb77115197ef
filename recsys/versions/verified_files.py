"""Which large files were found to be as their manifest says, so that a restart does not read gigabytes again.

A file counts as the same while its inode, size and times are: a change of its content moves its change time, which no
program can set. A file that was checked within seconds of its last change is not noted, for within the clock's
resolution it could change once more with the same times (git calls such an entry of its index racy).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import orjson

from recsys.files import replace

LARGE = 1 << 24
"""Bytes from which a file is noted: smaller ones are read in a hundredth of a second."""
SETTLED_S = 2.0
"""Seconds since a file's last change, after which it is noted."""


class VerifiedFiles:
    """Notes in a folder of their own, one file for each version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, version: str, path: Path, sha256: str) -> bool:
        """Whether the file was noted with this checksum, and is the same."""
        return _large(path) and self._notes(version).get(str(path)) == [sha256, *_marks(path)]

    def note(self, version: str, path: Path, sha256: str) -> None:
        """Note that the file has this checksum. Where nothing can be written, the next start reads it again."""
        if not _large(path) or time.time() - path.stat().st_ctime < SETTLED_S:
            return
        notes = self._notes(version) | {str(path): [sha256, *_marks(path)]}
        with contextlib.suppress(OSError):
            replace(self._folder / f"{version}.json", orjson.dumps(notes))

    def forget(self, version: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / f"{version}.json").unlink(missing_ok=True)

    def _notes(self, version: str) -> dict[str, list[str | int]]:
        try:
            notes = orjson.loads((self._folder / f"{version}.json").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return notes if isinstance(notes, dict) else {}


def _large(path: Path) -> bool:
    return path.exists() and path.stat().st_size >= LARGE


def _marks(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
