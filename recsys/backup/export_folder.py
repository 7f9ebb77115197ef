"""Where an export is written: a folder, or an object store behind an fsspec URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from recsys.data.parquet_folders import SUCCESS
from recsys.errors import BackupError


class ExportFolder:
    """Every method raises OSError when the place cannot be reached or refuses."""

    def __init__(self, url: str, scratch: Path) -> None:
        """`scratch`: a folder on this machine for one file at a time. Raises BackupError for a URL of an unknown scheme
        and for a place that holds something.
        """
        self.url = url.rstrip("/") or "/"
        self._scratch = scratch
        try:
            self._fs, root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise BackupError(f"{url}: {error}") from None
        self._root = str(root).rstrip("/")
        with self._reached():
            if self._fs.exists(self._root) and self._fs.ls(self._root, detail=False):
                raise BackupError(f"{self.url} holds something already: name an empty folder")

    def write(self, table: str, parts: Iterator[pa.Table]) -> int:
        """Write a table as a folder of Parquet files, marked as complete at last. Return the number of rows."""
        rows = 0
        for number, part in enumerate(parts):
            rows += len(part)
            path = self._scratch / "part.parquet"
            pq.write_table(part, path, compression="zstd")
            self._put(path, f"{table}/part-{number:05d}.parquet")
        path = self._scratch / SUCCESS
        path.write_bytes(b"")
        self._put(path, f"{table}/{SUCCESS}")
        return rows

    def _put(self, path: Path, name: str) -> None:
        with self._reached():
            to = f"{self._root}/{name}"
            self._fs.makedirs(to.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), to)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn the store's errors into OSError: each library raises its own."""
        try:
            yield
        except (OSError, BackupError):
            raise
        except Exception as error:
            raise OSError(f"{self.url} cannot be reached: {error or type(error).__name__}") from error
