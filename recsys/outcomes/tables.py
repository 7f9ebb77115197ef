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

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.state.slate_columns import AnswerColumns, decode_answers, decode_outcomes
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
_CERTAIN = np.ones(1, np.float32).tobytes()
"""The propensity of an item that was sure to be shown."""


def answers_table(entries: Sequence[StreamEntry]) -> pa.Table:
    """All entries' columns are put together before anything is looked at: a composer does this beside its requests.

    Raises msgspec.DecodeError for an entry that is none, ValueError for entries that lack a part of theirs.
    """
    columns = [decode_answers(entry.body) for entry in entries]
    counts = np.frombuffer(b"".join([one.counts for one in columns]), np.int32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    scores = np.frombuffer(b"".join([one.scores for one in columns]), np.float32)
    texts = "\n".join([one.items for one in columns if one.scores])
    items = pc.split_pattern(pa.array([texts]), "\n").flatten() if texts else pa.array([], pa.string())
    sources = _sources(columns)
    propensities = np.frombuffer(b"".join([one.propensities or _CERTAIN * _items(one) for one in columns]), np.float32)
    if any(len(column) != counts.sum() for column in (scores, items, sources, propensities)):
        raise ValueError("the counts of the log's answers do not fit their items")
    return pa.Table.from_arrays(
        [
            *_row(
                entries,
                np.frombuffer(b"".join([one.at for one in columns])),
                [len(one.request_ids) for one in columns],
                [request_id for one in columns for request_id in one.request_ids],
            ),
            _strings(one.scenarios for one in columns),
            _strings(one.versions for one in columns),
            _strings(one.variants for one in columns),
            pa.ListArray.from_arrays(offsets, items),
            pa.ListArray.from_arrays(offsets, pa.array(scores, pa.float32())),
            pa.ListArray.from_arrays(offsets, sources),
            pa.ListArray.from_arrays(offsets, pa.array(propensities, pa.float32())),
            _teams(columns, counts, offsets),
            _contexts(columns),
        ],
        schema=ANSWERS,
    )


def outcomes_table(entries: Sequence[StreamEntry]) -> pa.Table:
    """Raises msgspec.DecodeError for an entry that is none."""
    each = [decode_outcomes(entry.body) for entry in entries]
    events = list(chain.from_iterable(each))
    return pa.Table.from_arrays(
        [
            *_row(
                entries, np.array([e.at for e in events]), [len(one) for one in each], [e.request_id for e in events]
            ),
            pa.array([e.event_id for e in events], pa.string()),
            pa.array([e.item_id for e in events], pa.string()),
            pa.array([e.type for e in events], pa.string()),
            pa.array([e.value for e in events], pa.float64()),
        ],
        schema=OUTCOMES,
    )


def _items(entry: AnswerColumns) -> int:
    return len(entry.sources)


def _strings(columns: Iterable[Sequence[str]]) -> pa.Array:
    return pa.array(list(chain.from_iterable(columns)), pa.string())


def _sources(columns: Sequence[AnswerColumns]) -> pa.Array:
    """Each entry numbers its own names."""
    firsts = np.cumsum([0, *[len(one.source_names) for one in columns]])
    places = np.frombuffer(b"".join([one.sources for one in columns]), np.uint8)
    lengths = [len(one.sources) for one in columns]
    names = _strings(one.source_names for one in columns)
    return names.take(pa.array(places + np.repeat(firsts[:-1], lengths)))


def _teams(columns: Sequence[AnswerColumns], counts: npt.NDArray[np.int32], offsets: pa.Array) -> pa.Array:
    """Lists of the items' teams; null for an answer that was not interleaved."""
    if not any(one.teams for one in columns):
        return pa.nulls(len(counts), pa.list_(pa.int8()))
    teams = np.frombuffer(b"".join([one.teams or b"\xff" * _items(one) for one in columns]), np.int8)
    starts = np.minimum(offsets.to_numpy()[:-1], max(len(teams) - 1, 0))
    plain = (counts == 0) | (teams[starts] < 0)
    return pa.ListArray.from_arrays(offsets, pa.array(teams, pa.int8()), mask=pa.array(plain))


def _contexts(columns: Sequence[AnswerColumns]) -> pa.Array:
    """Null for an answer without one."""
    if not any(one.contexts for one in columns):
        return pa.nulls(sum(len(one.request_ids) for one in columns), pa.string())
    texts = chain.from_iterable(one.contexts or [""] * len(one.request_ids) for one in columns)
    return pa.array([text or None for text in texts], pa.string())


def _row(
    entries: Sequence[StreamEntry], at: npt.NDArray[np.float64], rows: Sequence[int], request_ids: Sequence[str]
) -> list[pa.Array]:
    """The columns that both tables begin with. `rows`: how many each entry has."""
    begins = np.cumsum([0, *rows])
    entry = np.repeat(np.arange(len(entries)), rows)
    place = np.arange(len(at), dtype=np.int32) - begins[entry].astype(np.int32)
    lost = np.array([one.lost for one in entries], np.int32)[entry] * (place == 0)
    tokens = b"".join([one.users for one in entries])
    somebody = np.frombuffer(tokens, np.int64) != 0
    hexes = pa.py_buffer(tokens.hex().encode())
    users = pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * TOKEN_BYTES), len(somebody), [None, hexes])
    return [
        pa.array([one.id for one in entries], pa.string()).take(pa.array(entry)),
        pa.array(place, pa.int32()),
        pa.array(lost.astype(np.int32), pa.int32()),
        pc.if_else(pa.array(somebody), users.cast(pa.string()), pa.scalar(None, pa.string())),
        pa.array(np.round(at * 1e6).astype(np.int64), pa.int64()).cast(_TIME),
        pa.array(request_ids, pa.string()),
    ]
