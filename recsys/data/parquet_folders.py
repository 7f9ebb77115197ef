"""Folders of Parquet files, as Spark and `recsys embed` write them: parts, and a file that marks them as complete."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recsys.errors import BadInput

SUCCESS = "_SUCCESS"
"""Hadoop's name of the file that is written last."""


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the paths in their order, with each folder replaced by its parts, sorted by name.

    Raises BadInput for a folder that is not marked as complete, has no parts, or has partitions as subfolders.
    """
    return [file for path in paths for file in (_parts(path) if path.is_dir() else [path])]


def _parts(folder: Path) -> list[Path]:
    if not (folder / SUCCESS).exists():
        raise BadInput(
            f"{folder}: is a folder without {SUCCESS}, the file by which Spark and `recsys embed` say that it is "
            f"complete; let what writes it finish, or name the files in it, such as {folder}/*.jsonl"
        )
    # Hadoop's rule: a name that begins with a dot or an underscore is not data.
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    if inner := [path.name for path in paths if path.is_dir()]:
        raise BadInput(
            f"{folder}: holds the folder {inner[0]}, as partitionBy writes; its column would be lost: "
            "write without partitionBy, or name the files"
        )
    parts = [path for path in paths if path.suffix == ".parquet"]
    if not parts:
        raise BadInput(f"{folder}: holds no file whose name ends in .parquet")
    return parts
