"""Proposals for a file: the fields of its columns, the attributes to declare, and the types of its events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from recsys.config.platform import AttributeType
from recsys.config.scenarios import EventType
from recsys.reading.column_kinds import Kind
from recsys.reading.column_names import proposed, squeezed
from recsys.reading.dialect import Dialect, ReadOptions
from recsys.reading.fields import INNER
from recsys.reading.times import unit_of

_ITEM_FIELDS = ("item_id", "title", "text", "created_at")
_EVENT_FIELDS = ("user_id", "item_id", "type", "timestamp", "value", "event_id", "request_id")
_DECLARED: Mapping[Kind, AttributeType] = {
    "boolean": "boolean",
    "number": "number",
    "date": "date",
    "datetime": "datetime",
    "keyword": "keyword",
    "keyword[]": "keyword[]",
}
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
_SAME_TYPE = (
    {"view", "click", "pageview", "pv", "impression", "detail", "visit", "play", "listen", "open", "read"},
    {"click", "clicked", "tap"},
    {"cart", "addtocart", "basket", "addtobasket", "wishlist", "fav", "favorite", "like", "bookmark", "save"},
    {"purchase", "transaction", "buy", "order", "sale", "checkout", "bought", "paid"},
    {"rating", "rate", "rated", "review", "stars"},
    {"dislike", "hate", "skip", "thumbsdown"},
)
"""Sets of event types with one meaning. A type is mapped to the first configured type of its set."""


def fields_of(
    dialect: Dialect, kinds: Mapping[str, Kind], columns: Mapping[str, pa.Array], options: ReadOptions
) -> tuple[Literal["items", "events", "unknown"], dict[str, str]]:
    """Return what a file holds, and the column of each field: by `options`, else by name, else by the cells."""
    header = [name for name in columns if name not in options.mapping.values()]
    given = {name.removeprefix("items.").removeprefix("events."): column for name, column in options.mapping.items()}
    events = _own(header, _EVENT_FIELDS) | {name: one for name, one in given.items() if name in _EVENT_FIELDS}
    items = _own(header, _ITEM_FIELDS) | {name: one for name, one in given.items() if name in _ITEM_FIELDS}
    if not dialect.header:
        items, events = _by_kind(kinds, columns) | items, _events_by_kind(kinds, columns) | events
    if "user_id" in events and "item_id" not in events and "title" not in items:
        ids = [name for name in header if squeezed(name).endswith("id") and name not in events.values()]
        events |= {"item_id": ids[0]} if len(ids) == 1 else {}
    if {"user_id", "item_id"} <= events.keys():
        return "events", events | ({} if "timestamp" in events else _time_by_kind(kinds, columns, events))
    if "item_id" in items and "title" not in items and not options.text_from:
        words = [name for name, kind in kinds.items() if kind == "text" and name not in items.values()]
        items |= {"title": words[0]} if words and "text" not in items else {}
    if "item_id" in items and ({"title", "text"} & items.keys() or options.text_from):
        return "items", items
    return "unknown", {}


def _own(header: list[str], fields: tuple[str, ...]) -> dict[str, str]:
    return {field: field for field in fields if field in header} | proposed(header, fields)


def _by_kind(kinds: Mapping[str, Kind], columns: Mapping[str, pa.Array]) -> dict[str, str]:
    """Return the fields of items without a header: the first column of distinct values is the id, the first of words
    the title.
    """
    ids = [name for name, column in columns.items() if len(column) and pc.count_distinct(column).as_py() == len(column)]
    words = [name for name, kind in kinds.items() if name not in ids[:1] and kind in ("text", "keyword")]
    return {"item_id": ids[0], "title": words[0]} if ids and words else {}


def _events_by_kind(kinds: Mapping[str, Kind], columns: Mapping[str, pa.Array]) -> dict[str, str]:
    """Return the fields of events without a header, in the usual order: two ids, then a value and a time."""
    names = list(columns)
    timed = [name for name in names if kinds[name] in ("date", "datetime") or _may_be_seconds(columns[name])]
    if len(names) < 3 or not timed or timed[-1] in names[:2] or kinds[names[1]] == "text":
        return {}
    fields = {"user_id": names[0], "item_id": names[1], "timestamp": timed[-1]}
    values = [name for name in names[2:] if name not in timed and kinds[name] in ("number", "boolean")]
    return fields | ({"value": values[0]} if values else {})


def _time_by_kind(
    kinds: Mapping[str, Kind], columns: Mapping[str, pa.Array], fields: Mapping[str, str]
) -> dict[str, str]:
    """Of events whose names tell no time: the one further column of times, else the one of what may be seconds."""
    free = [name for name in columns if name not in fields.values()]
    timed = [name for name in free if kinds[name] in ("date", "datetime")]
    timed = timed or [name for name in free if _may_be_seconds(columns[name])]
    return {"timestamp": timed[0]} if len(timed) == 1 else {}


def _may_be_seconds(column: pa.Array) -> bool:
    sample = column.drop_null().slice(0, 100).to_pylist()
    return bool(sample) and all(text.isdecimal() and unit_of(float(text)) in ("s", "ms", "us") for text in sample)


def attributes_of(
    kinds: Mapping[str, Kind],
    columns: Mapping[str, pa.Array],
    fields: Mapping[str, str],
    declared: Mapping[str, AttributeType],
) -> dict[str, tuple[str, AttributeType]]:
    """Return the attributes that could be declared: column and type by name.

    A keyword column whose cells are nearly all distinct is left out: filters on it would select single items.
    """
    proposals: dict[str, tuple[str, AttributeType]] = {}
    for column, kind in kinds.items():
        name = attribute_name(column)
        if column in fields.values() or kind not in _DECLARED or name in declared or name in proposals or not name:
            continue
        distinct = pc.count_distinct(columns[column]).as_py()
        if kind == "keyword" and distinct > 20 and distinct * 2 > len(columns[column]) - columns[column].null_count:
            continue
        proposals[name] = (column, _DECLARED[kind])
    return proposals


def attribute_name(column: str) -> str:
    """Return a valid attribute name for a column. Empty: its name has no usable character."""
    name = re.sub(r"[^a-z0-9]+", "_", column.removeprefix(INNER).lower()).strip("_")[:50]
    return name if _NAME.match(name) or not name else f"column_{name}"


def type_map_of(types: Mapping[str, int], configured: Mapping[str, EventType]) -> dict[str, str]:
    """Return the configured type of the same meaning for each type that is not configured, where there is one."""
    mapping = {}
    for theirs in types:
        word = re.sub(r"[\W_]", "", theirs).lower()
        if theirs not in configured:
            alike = [ours for words in _SAME_TYPE if word in words for ours in configured if ours in words]
            same = [ours for ours in configured if ours.lower() == theirs.strip().lower()]
            if same or alike:
                mapping[theirs] = (same or sorted(alike, key=lambda ours: ours not in word))[0]
    return mapping
