"""The files of a batch run: the users of a chunk, and the answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.answers import Slate
from recsys.datatypes import RecQuery
from recsys.files import whole

USER = "user_id"
_TEXTS = pa.list_(pa.string())
_ITEM = pa.struct([("item_id", pa.string()), ("title", pa.string()), ("score", pa.float32()), ("source", pa.string())])
ANSWERS = pa.schema(
    [
        (USER, pa.string()),
        ("request_id", pa.string()),
        ("scenario", pa.string()),
        ("index_version", pa.string()),
        ("model_version", pa.string()),
        ("degraded", _TEXTS),
        ("notes", _TEXTS),
        ("items", pa.list_(_ITEM)),
    ]
)
"""Columns of a file of answers, a row for each user. `items` are in their order, the best first; `request_id` is what
events name the answer by; `degraded` and `notes` as in an answer over HTTP."""


def write_users(path: Path, users: Sequence[str]) -> None:
    _write(path, pa.table({USER: pa.array(users, pa.string())}))


def read_users(path: Path) -> list[str]:
    return list(pq.read_table(path).column(USER).to_pylist())


def write_answers(path: Path, queries: Sequence[RecQuery], slates: Sequence[Slate]) -> None:
    rows = [
        {
            USER: query.user_id,
            "request_id": query.request_id,
            "scenario": query.scenario,
            "index_version": slate.index_version,
            "model_version": slate.model_version,
            "degraded": slate.degraded,
            "notes": slate.notes,
            "items": [
                {"item_id": i.item_id, "title": i.title, "score": i.score, "source": i.source} for i in slate.items
            ],
        }
        for query, slate in zip(queries, slates, strict=True)
    ]
    _write(path, pa.Table.from_pylist(rows, ANSWERS))


def rows_in(path: Path) -> int | None:
    """Return the number of rows of a file; None: it is not there, or damaged."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _write(path: Path, rows: pa.Table) -> None:
    with whole(path) as part:
        pq.write_table(rows, part, compression="zstd")
