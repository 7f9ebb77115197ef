"""Several tables of the log as one."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def united(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows of the tables, each once, in the order of the stream."""
    every = pa.concat_tables(tables, promote_options="default")  # a file of before may lack a column
    rows = every.sort_by([("entry", "ascending"), ("place", "ascending")]).combine_chunks()
    if rows.num_rows < 2:
        return rows
    changes = [pc.not_equal(rows[key].slice(1), rows[key].slice(0, rows.num_rows - 1)) for key in ("entry", "place")]
    first = pa.chunked_array([pa.array([True]), *pc.or_(*changes).chunks])
    return rows.filter(first)
