"""Entries of the log as tables. A row is one answer, or one outcome; its own key is `entry` and `place`.

| column | of | meaning |
| --- | --- | --- |
| entry | both | id of the stream's entry: the milliseconds at which Redis took it, and a counter |
| place | both | number of the row in its entry, from 0 |
| lost | both | rows that were left out since the entry before; in the first row of an entry, 0 in the others |
| user | both | the user's token; null: nobody in particular |
| moment | both | time of the answer, or of the event, in UTC |
| request_id | both | what events name the answer by |
| scenario, version, variant | answers | of the answer |
| items, scores, sources, propensities | answers | lists, best first |
| teams | answers | a list like these: the ranker of each item of an interleaved answer; null: it is none |
| context | answers | what the caller said of the moment, as a JSON object; null: nothing |
| event_id, item_id, type, value | outcomes | of the event |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.state.slate_columns import decode_answers, decode_outcomes
from recsys.state.slate_log import TOKEN_BYTES
from recsys.state.slate_stream import StreamEntry

_TIME = pa.timestamp("us")
_ROW = [
    ("entry", pa.string()),
    ("place", pa.int32()),
    ("lost", pa.int32()),
    ("user", pa.string()),
    ("moment", _TIME),
    ("request_id", pa.string()),
]
ANSWERS = pa.schema(
    [
        *_ROW,
        ("scenario", pa.string()),
        ("version", pa.string()),
        ("variant", pa.string()),
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("sources", pa.list_(pa.string())),
        ("propensities", pa.list_(pa.float32())),
        ("teams", pa.list_(pa.int8())),
        ("context", pa.string()),
    ]
)
OUTCOMES = pa.schema(
    [*_ROW, ("event_id", pa.string()), ("item_id", pa.string()), ("type", pa.string()), ("value", pa.float64())]
)


def answers_table(entries: Sequence[StreamEntry]) -> pa.Table:
    """Raises msgspec.DecodeError for an entry that is none."""
    return pa.Table.from_batches([_answers(entry) for entry in entries], ANSWERS)


def outcomes_table(entries: Sequence[StreamEntry]) -> pa.Table:
    """Raises msgspec.DecodeError for an entry that is none."""
    return pa.Table.from_batches([_outcomes(entry) for entry in entries], OUTCOMES)


def _answers(entry: StreamEntry) -> pa.RecordBatch:
    columns = decode_answers(entry.body)
    counts = np.frombuffer(columns.counts, np.int32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    scores = np.frombuffer(columns.scores, np.float32)
    items = pc.split_pattern(pa.array([columns.items]), "\n").flatten() if len(scores) else pa.array([], pa.string())
    names = pa.array(columns.source_names, pa.string())
    sources = names.take(pa.array(np.frombuffer(columns.sources, np.uint8), pa.uint8()))
    propensities = np.frombuffer(columns.propensities, np.float32) if columns.propensities else np.ones_like(scores)
    return pa.RecordBatch.from_arrays(
        [
            *_row(entry, np.frombuffer(columns.at), columns.request_ids),
            pa.array(columns.scenarios, pa.string()),
            pa.array(columns.versions, pa.string()),
            pa.array(columns.variants, pa.string()),
            pa.ListArray.from_arrays(offsets, items),
            pa.ListArray.from_arrays(offsets, pa.array(scores, pa.float32())),
            pa.ListArray.from_arrays(offsets, sources),
            pa.ListArray.from_arrays(offsets, pa.array(propensities, pa.float32())),
            _teams(columns.teams, counts, offsets),
            _contexts(columns.contexts, len(counts)),
        ],
        schema=ANSWERS,
    )


def _teams(column: bytes, counts: npt.NDArray[np.int32], offsets: pa.Array) -> pa.Array:
    """Lists of the items' teams; null for an answer that was not interleaved."""
    if not column:
        return pa.nulls(len(counts), pa.list_(pa.int8()))
    teams = np.frombuffer(column, np.int8)
    starts = np.minimum(offsets.to_numpy()[:-1], max(len(teams) - 1, 0))
    plain = (counts == 0) | (teams[starts] < 0)
    return pa.ListArray.from_arrays(offsets, pa.array(teams, pa.int8()), mask=pa.array(plain))


def _contexts(column: Sequence[str], answers: int) -> pa.Array:
    """Null for an answer without one."""
    return pa.array([text or None for text in column], pa.string()) if column else pa.nulls(answers, pa.string())


def _outcomes(entry: StreamEntry) -> pa.RecordBatch:
    events = decode_outcomes(entry.body)
    return pa.RecordBatch.from_arrays(
        [
            *_row(entry, np.array([e.at for e in events]), [e.request_id for e in events]),
            pa.array([e.event_id for e in events], pa.string()),
            pa.array([e.item_id for e in events], pa.string()),
            pa.array([e.type for e in events], pa.string()),
            pa.array([e.value for e in events], pa.float64()),
        ],
        schema=OUTCOMES,
    )


def _row(entry: StreamEntry, at: npt.NDArray[np.float64], request_ids: Sequence[str]) -> list[pa.Array]:
    """The columns that both tables begin with."""
    n = len(at)
    users = [entry.users[i : i + TOKEN_BYTES] for i in range(0, len(entry.users), TOKEN_BYTES)]
    return [
        pa.array([entry.id] * n, pa.string()),
        pa.array(np.arange(n), pa.int32()),
        pa.array([entry.lost] * (n > 0) + [0] * (n - 1), pa.int32()),
        pa.array([user.hex() if any(user) else None for user in users], pa.string()),
        pa.array(np.round(at * 1e6).astype(np.int64), pa.int64()).cast(_TIME),
        pa.array(request_ids, pa.string()),
    ]
