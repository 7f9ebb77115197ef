"""In which context answers were given: what their callers said of the moment."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from recsys.datatypes import AttributeValue
from recsys.outcomes.joining import answered, every_answer
from recsys.outcomes.log_files import LogFiles

if TYPE_CHECKING:
    import duckdb

_CONTEXTS = """
SELECT request_id, context FROM answer_rows SEMI JOIN wanted USING (request_id) WHERE context IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY moment DESC, entry DESC, place DESC) = 1
"""
"""Of several answers with one request_id the last one counts."""

_read = msgspec.json.Decoder(dict[str, AttributeValue]).decode


def contexts_of(files: LogFiles, request_ids: Collection[str]) -> dict[str, dict[str, AttributeValue]]:
    """Return the contexts by request, of those answers that are in the log and had one. Raises OSError when the log
    cannot be read, and TooLarge as `joining.report` does.
    """
    if not request_ids:
        return {}
    rows = answered(files, partial(_rows, files=files, request_ids=request_ids))
    return {request_id: _read(context) for request_id, context in rows}


def _rows(database: duckdb.DuckDBPyConnection, files: LogFiles, request_ids: Collection[str]) -> list[tuple[str, str]]:
    wanted = pa.table({"request_id": pa.array(sorted(request_ids), pa.string())})
    database.register("wanted", wanted)
    every_answer(database, files)
    return database.execute(_CONTEXTS).fetchall()
