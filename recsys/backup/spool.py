"""Where keys lie while they are copied: an SQLite file on this machine, for they may be more than memory holds, and a
key that changes is read again in the place of its first copy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from recsys.state.item_log import after
from recsys.state.stored_keys import StoredEntry, StoredKey

_TABLES = """
CREATE TABLE keys (key BLOB PRIMARY KEY, type TEXT, expires_ms INTEGER, value BLOB) WITHOUT ROWID;
CREATE TABLE entries (
  stream BLOB, ms INTEGER, counter INTEGER, fields BLOB, PRIMARY KEY (stream, ms, counter)
) WITHOUT ROWID;
"""
encode_value = msgspec.msgpack.Encoder().encode
_decode_value = msgspec.msgpack.Decoder(bytes | list[bytes]).decode
_decode_fields = msgspec.msgpack.Decoder(list[bytes]).decode


class Spool:
    """Use it in one thread. `path`: a file that does not exist yet."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path)

    def __enter__(self) -> Self:
        # What dies with the process needs no journal.
        for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", *_TABLES.split(";")):
            self._db.execute(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def put(self, records: Iterable[StoredKey]) -> None:
        """Store keys in the place of their earlier copies."""
        rows = [(r.key, r.type, r.expires_ms, encode_value(r.value)) for r in records]
        self._db.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", rows)

    def drop(self, keys: Iterable[bytes]) -> None:
        """Forget keys, and the entries of those that are streams."""
        gone = [(key,) for key in keys]
        self._db.executemany("DELETE FROM keys WHERE key = ?", gone)
        self._db.executemany("DELETE FROM entries WHERE stream = ?", gone)

    def append(self, stream: bytes, entries: Iterable[StoredEntry]) -> None:
        rows = [(stream, *after(e.id), encode_value(e.fields)) for e in entries]
        self._db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)

    def trim(self, stream: bytes, first: str | None) -> None:
        """Forget the entries of a stream before its first one; None: all of them."""
        if first is None:
            self._db.execute("DELETE FROM entries WHERE stream = ?", (stream,))
        else:
            where = "DELETE FROM entries WHERE stream = ? AND (ms, counter) < (?, ?)"
            self._db.execute(where, (stream, *after(first)))

    def last(self, stream: bytes) -> str | None:
        """Return the id of the newest entry stored of a stream; None: none is."""
        where = "SELECT ms, counter FROM entries WHERE stream = ? ORDER BY ms DESC, counter DESC LIMIT 1"
        row = self._db.execute(where, (stream,)).fetchone()
        return None if row is None else f"{row[0]}-{row[1]}"

    def count(self, stream: bytes) -> int:
        """Return the number of entries stored of a stream."""
        return int(self._db.execute("SELECT count(*) FROM entries WHERE stream = ?", (stream,)).fetchone()[0])

    def get(self, key: bytes) -> StoredKey | None:
        row = self._db.execute("SELECT key, type, value, expires_ms FROM keys WHERE key = ?", (key,)).fetchone()
        return None if row is None else _record(row)

    def records(self, beginning: bytes = b"") -> Iterator[StoredKey]:
        """Yield the keys that begin so, in their order."""
        where = "SELECT key, type, value, expires_ms FROM keys WHERE key >= ? AND key < ? ORDER BY key"
        for row in self._db.execute(where, (beginning, beginning + b"\xff")):
            yield _record(row)

    def entries(self, stream: bytes, behind: str = "0-0") -> Iterator[StoredEntry]:
        """Yield a stream's entries behind an id, oldest first."""
        where = (
            "SELECT ms, counter, fields FROM entries WHERE stream = ? AND (ms, counter) > (?, ?) ORDER BY ms, counter"
        )
        for ms, counter, fields in self._db.execute(where, (stream, *after(behind))):
            yield StoredEntry(f"{ms}-{counter}", _decode_fields(fields))


def _record(row: tuple[bytes, str, bytes, int | None]) -> StoredKey:
    return StoredKey(row[0], row[1], _decode_value(row[2]), row[3])
