"""The mark of a restore that is under way: a file in the home, so that no platform starts on a part of a backup."""

from __future__ import annotations

from pathlib import Path

from recsys.errors import BackupError
from recsys.files import replace

_MARK = "RESTORING"


def begin(home: Path, backup: str) -> None:
    replace(home / _MARK, backup.encode())


def end(home: Path) -> None:
    (home / _MARK).unlink()


def half_restored(home: Path) -> str | None:
    """Return the backup whose restore into this home did not end. None: there is none."""
    try:
        return (home / _MARK).read_text()
    except FileNotFoundError:
        return None


def refuse_if_half_restored(home: Path) -> None:
    """Raise BackupError when a restore into this home did not end."""
    if (name := half_restored(home)) is not None:
        raise BackupError(
            f"restoring {name} into {home} did not end, and only a part of it is there: run the same `recsys restore` "
            "again"
        )
