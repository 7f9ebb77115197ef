"""Keys of Redis as Parquet files.

`keys-NNNNN.parquet`: a key a row, in the order of the keys.

| column | type | holds |
| --- | --- | --- |
| `key` | binary | the key without the platform's prefix |
| `type` | string | string, list, set, hash, zset or stream |
| `expires_ms` | int64 | Unix milliseconds; null: never |
| `value` | binary | the value as MessagePack, see `state/stored_keys.py` |

`entries-NNNNN.parquet`: an entry of a stream a row, in the order of their ids.

| column | type | holds |
| --- | --- | --- |
| `stream` | binary | its key |
| `id` | string | its id |
| `fields` | binary | names and values as MessagePack |

Where a file ends follows from the keys and ids in it, so that what did not change makes the same file again, which the
next backup need not store.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.backup.spool import Spool, encode_value
from recsys.state.stored_keys import STREAM, StoredEntry, StoredKey

KEYS, ENTRIES = "keys", "entries"
_SCHEMAS = {
    KEYS: pa.schema([("key", pa.binary()), ("type", pa.string()), ("expires_ms", pa.int64()), ("value", pa.binary())]),
    ENTRIES: pa.schema([("stream", pa.binary()), ("id", pa.string()), ("fields", pa.binary())]),
}
_MEAN_ROWS = 4096
"""Rows of a file in the mean; one changed key makes a new file of its part, some MB."""
_LARGEST = 64 << 20
"""Bytes of values after which a file ends wherever it is."""
_BATCH = 1024
_decode_value = msgspec.msgpack.Decoder(bytes | list[bytes]).decode
_decode_fields = msgspec.msgpack.Decoder(list[bytes]).decode


def write_parts(spool: Spool, folder: Path) -> Iterator[Path]:
    """Write all that was copied to files in a folder. Yield each when it is complete."""
    yield from _files(folder, KEYS, _key_rows(spool))
    yield from _files(folder, ENTRIES, _entry_rows(spool))


def read_keys(path: Path) -> Iterator[list[StoredKey]]:
    """Yield the keys of a file, some at a time."""
    for rows in _batches(path):
        yield [StoredKey(r["key"], r["type"], _decode_value(r["value"]), r["expires_ms"]) for r in rows]


def read_entries(path: Path) -> Iterator[tuple[bytes, list[StoredEntry]]]:
    """Yield streams with entries of theirs, some at a time."""
    for rows in _batches(path):
        streams: dict[bytes, list[StoredEntry]] = {}
        for row in rows:
            streams.setdefault(row["stream"], []).append(StoredEntry(row["id"], _decode_fields(row["fields"])))
        yield from streams.items()


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield batch.to_pylist()


def _key_rows(spool: Spool) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
    for record in spool.records():
        yield record.key, (record.key, record.type, record.expires_ms, encode_value(record.value))


def _entry_rows(spool: Spool) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
    for stream in [record.key for record in spool.records() if record.type == STREAM]:
        for entry in spool.entries(stream):
            yield stream + entry.id.encode(), (stream, entry.id, encode_value(entry.fields))


def _files(folder: Path, kind: str, rows: Iterable[tuple[bytes, tuple[Any, ...]]]) -> Iterator[Path]:
    """`rows`: with what decides whether a file ends behind each."""
    part: list[tuple[Any, ...]] = []
    size = number = 0
    for name, row in rows:
        part.append(row)
        size += len(row[-1])
        if zlib.crc32(name) % _MEAN_ROWS == 0 or size >= _LARGEST:
            yield _write(folder / f"{kind}-{number:05d}.parquet", part, kind)
            part, size, number = [], 0, number + 1
    if part:
        yield _write(folder / f"{kind}-{number:05d}.parquet", part, kind)


def _write(path: Path, rows: list[tuple[Any, ...]], kind: str) -> Path:
    schema = _SCHEMAS[kind]
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)]
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")
    return path
