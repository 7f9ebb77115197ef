"""Files decompressed while they are read. The first bytes of a file determine its compression, not its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from recsys.errors import BadInput
from recsys.reading.dialect import Compression, Dialect

_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_NAMES: dict[str, Compression] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
PARQUET_MAGIC = b"PAR1"
LINE_CHARS = 16 << 20
"""Characters of a line: twice the default limit of a request body, so no valid record is longer."""


def file_size(path: Path) -> int:
    """Return the bytes of a file. Raises BadInput when it is a folder, empty, or cannot be opened."""
    try:
        length = path.stat().st_size
        if path.is_dir():
            raise BadInput(f"{path}: is a folder; name the files in it, such as {path}/*.jsonl")
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    if length == 0:
        raise BadInput(f"{path}: is empty")
    return length


def refuse_if_changed(path: Path, length: int) -> None:
    """Raise BadInput when a file no longer has `length` bytes: its last row may have been read in part."""
    now = path.stat().st_size
    if now != length:
        raise BadInput(
            f"{path}: changed while it was read, from {length} to {now} bytes; read it again when it is whole, or a "
            "copy of it: what was taken counts once"
        )


def compression_of(path: Path) -> Compression | None:
    """Return the compression by the first bytes, else by the name, so that a damaged file is reported as such."""
    with path.open("rb") as file:
        start = file.read(8)
    compression = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    return compression or _NAMES.get(path.suffix.lower())


@contextmanager
def unpacked(path: Path, compression: Compression | None) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Yield the file itself, for its position, and the stream of its decompressed bytes."""
    with path.open("rb", buffering=0) as raw:
        if compression is None:
            yield raw, cast("BinaryIO", io.BufferedReader(raw, 1 << 20))
        elif compression == "zstd":
            with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
                yield raw, cast("BinaryIO", io.BufferedReader(_Readable(stream), 1 << 20))
        else:
            kinds = {"gzip": gzip.GzipFile, "bz2": bz2.BZ2File, "xz": lzma.LZMAFile}
            opened = gzip.GzipFile(fileobj=raw) if compression == "gzip" else kinds[compression](raw)
            with opened as stream:
                yield raw, cast("BinaryIO", stream)


class _Readable(io.RawIOBase):
    """Arrow's stream as an io stream."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._stream.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system, of decompression and of Arrow into a BadInput of one line."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadInput(f"{path}: is broken, or not packed as its name says ({error}); pack it again") from None
    except (pa.ArrowException, OSError, UnicodeError, OverflowError) as error:  # Arrow raises the last two as well
        raise BadInput(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from None


@contextmanager
def text_of(path: Path, dialect: Dialect) -> Iterator[tuple[BinaryIO, io.TextIOBase]]:
    """Yield the file itself, for its position, and its text in physical lines.

    Bytes that are invalid in the encoding become lone surrogates, so that only their line is refused.
    """
    newline = "" if dialect.container == "delimited" else "\n"
    with unpacked(path, dialect.compression) as (raw, stream):
        text = io.TextIOWrapper(stream, dialect.encoding, errors="surrogateescape", newline=newline)
        try:
            yield raw, text
        finally:
            text.detach()


def lines_of(path: Path, text: io.TextIOBase) -> Iterator[str]:
    """Yield physical lines. Raises BadInput for a line longer than LINE_CHARS."""
    number = 0
    while line := text.readline(LINE_CHARS):
        number += 1
        if len(line) == LINE_CHARS and not line.endswith("\n"):
            raise BadInput(f"{path}: line {number} is longer than {LINE_CHARS >> 20} MiB; write one record a line")
        yield line
