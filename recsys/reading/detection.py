"""Detection of a file's container, compression, encoding, separator, quotes, header and columns from its content."""

from __future__ import annotations

import ast
import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recsys.data.canonical import canonical
from recsys.data.records import encodable
from recsys.errors import BadInput
from recsys.reading.dialect import Compression, Dialect, ReadOptions
from recsys.reading.packed_files import PARQUET_MAGIC, compression_of, file_errors, file_size, lines_of, unpacked
from recsys.reading.separators import has_header, separator_of
from recsys.reading.table_reading import Lines, json_document, json_record, not_text, split_rows
from recsys.reading.tables import arrow_names, flattened
from recsys.reading.text_encoding import encoding_of

_SAMPLE_BYTES = 1 << 20
_SAMPLE_LINES = 1000
_JSON_NAMES = (".json", ".jsonl", ".ndjson")
_SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_NAMES = 1000
"""Columns of one JSON file that are considered."""


def detect(path: Path, options: ReadOptions) -> Dialect:
    """Return how a file is written. Values given in `options` are taken as they are.

    Raises BadInput when the file is missing, empty, or of a format that cannot be read.
    """
    file_size(path)
    with file_errors(path):
        compression = compression_of(path)
        with unpacked(path, compression) as (_, stream):
            sample = stream.read(_SAMPLE_BYTES)
        if not sample:
            raise BadInput(f"{path}: is empty")
        if compression is None and (sample.startswith(PARQUET_MAGIC) or path.suffix.lower() == ".parquet"):
            with pq.ParquetFile(path) as file:
                return Dialect("parquet", tuple(arrow_names(file.schema_arrow)))
        if sample.startswith(b"PK\x03\x04") or path.suffix.lower() in _SHEETS:
            raise BadInput(f"{path}: is a spreadsheet or zip archive; save its sheet as CSV, or unpack it")
        return _text(path, compression, sample, options)


def _text(path: Path, compression: Compression | None, sample: bytes, options: ReadOptions) -> Dialect:
    encoding = options.encoding or encoding_of(sample)
    cut = len(sample) == _SAMPLE_BYTES
    text = io.TextIOWrapper(io.BytesIO(sample), encoding, errors="surrogateescape", newline="")
    lines = list(islice(lines_of(path, text), _SAMPLE_LINES))
    if cut and len(lines) > 1 and len(lines) < _SAMPLE_LINES:
        lines.pop()
    if "\0" in "".join(lines[:20]):
        raise BadInput(f"{path}: holds bytes that are no text; give CSV, TSV, JSON or Parquet, or name its --encoding")
    dialect = Dialect("delimited", (), compression, encoding)
    return _json(path, dialect, lines) or _table(path, dialect, lines, options)


def _json(path: Path, dialect: Dialect, lines: Sequence[str]) -> Dialect | None:
    """Return the dialect of a JSON file. None: the lines are not JSON."""
    named = path.with_suffix("") if dialect.compression and path.suffix.lower() not in _JSON_NAMES else path
    promised = named.suffix.lower() in _JSON_NAMES
    first = next((line.strip() for line in lines if line.strip()), "")
    if not promised and not first.startswith(("{", "[")):
        return None
    records = [record for line in lines if isinstance(record := json_record(line), dict)]
    whole = [line for line in lines if line.strip()]
    if records and not (len(whole) == 1 and _record_lists(records[0])):
        names = dict.fromkeys(name for record in records for name in flattened(record))
        return replace(dialect, container="json lines", columns=tuple(islice(names, _NAMES)))
    if _is_python(first):
        raise BadInput(
            f"{path}: is in Python's notation, not JSON: its quotes are single; write it with json.dumps, or turn it: "
            "python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(row))) for row in sys.stdin]' "
            f"< {path} > {named.stem}.fixed.jsonl"
        )
    if first.startswith(("{", "[")) and (promised or _opens_document(first)):
        return _document(path, dialect, promised=promised, lines=lines)
    return replace(dialect, container="json lines") if promised else None


def _is_python(line: str) -> bool:
    if not line.startswith(("{'", "[{'", "['")):
        return False
    try:
        return isinstance(ast.literal_eval(line.rstrip(",")), dict | list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _opens_document(first: str) -> bool:
    """Return whether a line begins a JSON document of several lines rather than a table of one column."""
    return first in ("{", "[", "[{") or first.startswith(('{"', '[{"', '[ {"')) or first == "[]"


def _document(path: Path, dialect: Dialect, *, promised: bool, lines: Sequence[str]) -> Dialect | None:
    document_dialect = replace(dialect, container="json document")
    try:
        document = json_document(path, document_dialect)
    except BadInput:
        first = next((line for line in lines if line.strip()), "")
        if not promised or first.strip().startswith("[") or first.strip() == "{":
            raise
        return replace(dialect, container="json lines")  # reading reports the fault of each line
    key = None
    if isinstance(document, dict) and (lists := _record_lists(document)):
        key = max(lists, key=lambda name: len(document[name]))
        document = document[key]
    records: list[Any] = document if isinstance(document, list) else [document]
    sample = [record for record in records[:_SAMPLE_LINES] if isinstance(record, dict)]
    if records and not sample:
        if not promised:
            return None
        raise BadInput(f"{path}: is a JSON list without objects; the format is a list of objects, or one object a line")
    names = dict.fromkeys(name for record in sample for name in flattened(record))
    return replace(document_dialect, columns=tuple(islice(names, _NAMES)), key=key)


def _record_lists(document: dict[str, Any]) -> list[str]:
    """Return the fields that hold a list of objects. An object with an id or a title is a record and has none."""
    if any(name.lower() in ("id", "item_id", "user_id", "title", "name") for name in document):
        return []
    return [
        name for name, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]


def _table(path: Path, dialect: Dialect, lines: Sequence[str], options: ReadOptions) -> Dialect:
    separator, quote = separator_of(lines)
    if options.separator is not None and options.separator != separator:
        separator, quote = options.separator, '"' if len(options.separator) == 1 else ""
    dialect = replace(dialect, separator=separator, quote=quote)
    rows = list(islice(split_rows(Lines(iter(lines)), dialect), 200))
    if not rows:
        raise BadInput(f"{path}: is blank")
    first = rows[0][1]
    cells = [row for _, row in rows if isinstance(row, list)]
    header = options.header if options.header is not None else isinstance(first, str) or has_header(cells)
    if not header:
        width = len(cells[0]) if cells else 1
        return replace(dialect, header=False, columns=tuple(str(at) for at in range(1, width + 1)))
    if isinstance(first, str):
        raise BadInput(f"{path}: the header cannot be read: {first}")
    if not encodable("".join(first)):
        raise BadInput(f"{path}: the header cannot be read: {not_text(dialect.encoding)}")
    names = [canonical(cell) or str(at) for at, cell in enumerate(first, 1)]
    return replace(dialect, columns=tuple(names))
