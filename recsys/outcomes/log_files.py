"""Where the files of the log lie: beside the versions, in a folder or in an object store, one folder an hour.

<root>/answers/2026-11-27T22/1795816790000.parquet    a slot of ten seconds, by the milliseconds at which it begins
<root>/answers/2026-11-27T22/hour.parquet             the hour, once all its slots are in it
<root>/outcomes/…                                     the same

The hour is that in which Redis took the rows. A file appears whole or not at all. Whoever writes one that is there
keeps the entries of the stream that it holds, so no order of writers, restarts and repetitions loses or doubles a row.
"""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from recsys import files
from recsys.files import reached

if TYPE_CHECKING:  # the process of a report only lists: it would take twice as long to start
    import pyarrow as pa

    from recsys.config.platform import Platform

WHOLE = "hour.parquet"
_HOUR = "%Y-%m-%dT%H"
HOUR_MS = 3_600_000


def hour_of(ms: int) -> str:
    """The hour's name, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime(_HOUR)


def begin_of(hour: str) -> int:
    """Milliseconds at which the hour of this name begins. Raises ValueError for what is no such name."""
    return round(datetime.strptime(hour, _HOUR).replace(tzinfo=UTC).timestamp() * 1000)


class LogFiles:
    """Every method raises OSError when the storage cannot be reached or refuses."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/")
        self._opened: tuple[AbstractFileSystem, str] | None = None

    @classmethod
    def of(cls, platform: Platform) -> LogFiles:
        if platform.versions_url is not None:
            return cls(f"{platform.versions_url.rstrip('/')}/slate-log")
        return cls(platform.home() / "slate-log")

    @property
    def remote(self) -> AbstractFileSystem | None:
        """The file system that paths are of; None: this machine's own."""
        return None if isinstance(self._fs, LocalFileSystem) else self._fs

    def hours(self, kind: str) -> list[str]:
        """Names of the hours that have files, oldest first."""
        names = []
        for name in self._listed(kind):
            with contextlib.suppress(ValueError):
                begin_of(name)
                names.append(name)
        return sorted(names)

    def sizes(self, kind: str, hour: str) -> dict[str, int]:
        """Names of the hour's files, with their bytes."""
        return {name: size for name, size in self._listed(f"{kind}/{hour}").items() if name.endswith(".parquet")}

    def path(self, kind: str, hour: str, name: str) -> str:
        """As the file system has it, for a library that reads by itself."""
        path = self._at(f"{kind}/{hour}/{name}")
        return path if self.remote is None else str(self._fs.unstrip_protocol(path))

    def read(self, kind: str, hour: str, name: str) -> pa.Table | None:
        """None where there is no such file."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - see above

        content = self.content(kind, hour, name)
        return None if content is None else pq.read_table(io.BytesIO(content))

    def content(self, kind: str, hour: str, name: str) -> bytes | None:
        """The bytes of a file; None where there is no such file."""
        with reached(self.url):
            try:
                return bytes(self._fs.cat_file(self._at(f"{kind}/{hour}/{name}")))
            except FileNotFoundError:
                return None

    def merge(self, kind: str, hour: str, name: str, table: pa.Table) -> None:
        """Write a file, with the entries that it holds already and the table does not."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - see above

        from recsys.outcomes.uniting import united  # noqa: PLC0415

        before = self.read(kind, hour, name)
        sink = io.BytesIO()
        pq.write_table(table if before is None else united([before, table]), sink, compression="zstd")
        path = self._at(f"{kind}/{hour}/{name}")
        with reached(self.url):
            if self.remote is None:
                files.replace(Path(path), sink.getvalue())
            else:
                self._fs.pipe_file(path, sink.getvalue())

    def take(self, kind: str, hour: str, name: str, path: Path) -> None:
        """Write a file that was read from another log, as `merge` does."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - see above

        self.merge(kind, hour, name, pq.read_table(path))

    def remove(self, kind: str, hour: str, name: str) -> None:
        """Delete a file, which another process may have done already."""
        with reached(self.url), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(f"{kind}/{hour}/{name}"))

    def remove_hour(self, kind: str, hour: str) -> None:
        with reached(self.url), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._at(f"{kind}/{hour}"), recursive=True)

    def _listed(self, folder: str) -> dict[str, int]:
        with reached(self.url):
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(self._at(folder), detail=True)
            except FileNotFoundError:
                return {}
        return {str(one["name"]).rstrip("/").rsplit("/", 1)[-1]: int(one.get("size") or 0) for one in entries}

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @property
    def _fs(self) -> AbstractFileSystem:
        return self._open()[0]

    @property
    def _root(self) -> str:
        return self._open()[1]

    def _open(self) -> tuple[AbstractFileSystem, str]:
        if self._opened is None:
            with reached(self.url):
                fs, root = url_to_fs(self.url)
            self._opened = fs, str(root).rstrip("/")
        return self._opened
