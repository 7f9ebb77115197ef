"""Statistics of the columns of items and of events, for `recsys inspect`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.canonical import canonical
from recsys.reading.cells import MISSING, is_missing, is_whole_float
from recsys.reading.languages import shares
from recsys.reading.times import TimeReading, moment, time_reading, unit_of

_CHARS_A_TOKEN = 4
"""Mean characters of a token in English."""
_TEXTS = 2000
"""Texts whose language is determined."""
_SAMPLE = 1000
"""Cells that decide how ids and times are read."""
_TYPES = 20
"""Event types that are listed, the most frequent first."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def composed(column: pa.Array) -> pa.Array:
    """Return texts in their canonical spelling: `é` as one character equals `e` with a combining accent."""
    if pc.all(pc.fill_null(pc.string_is_ascii(column), True)).as_py():
        return pc.utf8_trim_whitespace(column)
    encoded = column.dictionary_encode()
    return pa.array(map(canonical, encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)


def spelled(ids: pa.Array) -> pa.Array:
    """Return ids as a build reads them: in canonical spelling, and `50` for `50.0` if all are written so."""
    ids = composed(ids)
    sample = ids.drop_null().slice(0, _SAMPLE).to_pylist()
    if sample and all(map(is_whole_float, sample)):
        return pc.replace_substring_regex(ids, r"^(-?\d+)\.0+$", r"\1")
    return ids


def present(column: pa.Array, *, words: bool) -> pa.Array:
    """Return the (n,) cells, null where a cell means that there is no value.

    `words`: whether the column holds words, of which `—` or `unknown` may be one.
    """
    if words:
        return column
    absent = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(column)), value_set=pa.array(sorted(MISSING)))
    return pc.if_else(absent, None, column)


def of_items(ids: pa.Array, titles: pa.Array, texts: pa.Array, created: pa.Array, *, max_tokens: int) -> dict[str, Any]:
    """Return JSON-ready statistics of items.

    They are the numbers of ids, repeated ids, nearly equal texts and missing ids, the shares of items with title, text
    and creation time, the share of texts longer than `max_tokens`, the languages of a sample, and the span of times.
    """
    ids, n, created = spelled(ids), max(len(ids), 1), present(created, words=False)
    distinct = pc.count_distinct(ids).as_py()
    # `null_handling="skip"` of Arrow would lose which rows have neither title nor text.
    whole = pc.coalesce(pc.binary_join_element_wise(titles, texts, ". "), titles, texts)
    plain = pc.replace_substring_regex(pc.utf8_lower(whole), r"[^\p{L}\p{N}]+", " ")
    alike = pc.value_counts(plain.filter(pc.greater(pc.utf8_length(plain), 0)))
    repeated = pc.sum(pc.subtract(alike.field("counts"), 1)).as_py() or 0
    long = pc.sum(pc.greater(pc.utf8_length(whole), max_tokens * _CHARS_A_TOKEN)).as_py() or 0
    sample = whole.take(pa.array(np.unique(np.linspace(0, n - 1, min(n, _TEXTS)).astype(int)))).to_pylist()
    return {
        "items": distinct,
        "doubled_ids": len(ids) - ids.null_count - distinct,
        "without_id": ids.null_count,
        "with_title": 1 - titles.null_count / n,
        "with_text": 1 - texts.null_count / n,
        "equal_texts": repeated,
        "cut_texts": long / n,
        "max_tokens": max_tokens,
        "languages": {language: round(share, 3) for language, share in shares(filter(None, sample)).items()},
        "with_created_at": 1 - created.null_count / n,
        **_span(_seconds(created), "created"),
    }


def of_events(
    users: pa.Array, items: pa.Array, types: pa.Array, times: pa.Array, catalogue: pa.Array | None = None
) -> dict[str, Any]:
    """Return JSON-ready statistics of events.

    They are the numbers of users, items, events by type and repeated events, the span of times, the share of events
    with the same time as another of the user, the user with most events, and, given the ids of a catalogue, the share
    of events whose item it has.
    """
    users, items, types, n = spelled(users), spelled(items), composed(types), max(len(users), 1)
    times = present(times, words=False)
    seconds = _seconds(times)
    facts: dict[str, Any] = {
        "users": pc.count_distinct(users).as_py(),
        "items": pc.count_distinct(items).as_py(),
        "types": _counts(types, _TYPES),
        **_span(seconds, "times"),
        **_ties(users, items, types, seconds),
    }
    largest = _counts(users, 1)
    if largest:
        [(user, events)] = largest.items()
        facts["largest_user"] = {"user_id": user, "events": events, "share": events / n}
    if catalogue is not None:
        joins = pc.is_in(items, value_set=catalogue)
        lacking = items.filter(pc.invert(joins)).drop_null().unique().slice(0, 3).to_pylist()
        facts["join"] = {"share": pc.mean(joins).as_py() or 0.0, "examples_without": lacking}
    return facts


def _ties(users: pa.Array, items: pa.Array, types: pa.Array, seconds: npt.NDArray[np.float64]) -> dict[str, Any]:
    if not np.isfinite(seconds).any():
        return {}
    table = pa.table({"user": users, "item": items, "type": types, "time": pa.array(seconds, from_pandas=True)})
    moments = table.group_by(["user", "time"]).aggregate([([], "count_all")])["count_all"]
    tied = pc.sum(moments.filter(pc.greater(moments, 1))).as_py() or 0
    distinct = table.group_by(["user", "item", "type", "time"]).aggregate([]).num_rows
    return {"tied": tied / max(len(users), 1), "repeated": len(users) - distinct}


def _counts(column: pa.Array, most: int) -> dict[str, int]:
    counts = pc.value_counts(column.drop_null())
    order = pc.sort_indices(counts.field("counts"), sort_keys=[("", "descending")]).slice(0, most)
    taken = counts.take(order)
    return dict(zip(taken.field("values").to_pylist(), taken.field("counts").to_pylist(), strict=True))


def _seconds(column: pa.Array) -> npt.NDArray[np.float64]:
    """Return (n,) float64 Unix seconds, NaN for a cell that is missing or not a time."""
    sample = column.drop_null()
    if not len(sample):
        return np.full(len(column), np.nan)
    reading = time_reading(sample.slice(0, _SAMPLE).to_pylist())
    for read in (_of_digits, _of_iso, _of_texts):
        seconds = read(column, reading)
        if seconds is not None:
            return seconds
    raise AssertionError("_of_texts reads every column")


def _of_digits(column: pa.Array, reading: TimeReading) -> npt.NDArray[np.float64] | None:
    """Return seconds from numbers of one unit. None: the cells are not such numbers."""
    try:
        numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    finite = numbers[np.isfinite(numbers)]
    unit = reading.unit
    if unit not in _PER_SECOND or not len(finite) or unit_of(float(np.median(finite))) != unit:
        return None
    return np.asarray(numbers / _PER_SECOND[unit], np.float64)


def _of_iso(column: pa.Array, _: TimeReading) -> npt.NDArray[np.float64] | None:
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            moments = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        numbers = moments.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(numbers, np.float64) / 1e6
    return None


def _of_texts(column: pa.Array, reading: TimeReading) -> npt.NDArray[np.float64]:
    encoded = column.dictionary_encode()

    def read(text: str) -> float:
        try:
            return np.nan if is_missing(text) else moment(text, reading)
        except ValueError:
            return np.nan

    values = np.array([*map(read, encoded.dictionary.to_pylist()), np.nan])
    return values[encoded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)]


def _span(seconds: npt.NDArray[np.float64], name: str) -> dict[str, Any]:
    finite = seconds[np.isfinite(seconds)]
    if not len(finite):
        return {}
    ends = [
        datetime.fromtimestamp(float(end), UTC).isoformat(timespec="seconds") for end in (finite.min(), finite.max())
    ]
    return {f"{name}_from": ends[0], f"{name}_to": ends[1], f"{name}_unread": int(len(seconds) - len(finite))}
