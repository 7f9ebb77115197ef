"""What a platform knows as tables for other programs: items with their vectors, users, events.

Each is a folder of Parquet files with `_SUCCESS`, as Spark writes it. docs/operations.md has the columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson
import pyarrow as pa

from recsys.backup.spool import Spool
from recsys.config.platform import AttributeType
from recsys.data.embedding_plan import MOMENT, attribute_column, item_table, microseconds
from recsys.data.given_vectors import VECTOR
from recsys.data.validation import checked_attribute
from recsys.datatypes import AttributeValue, Floats, Interaction, Item
from recsys.routing import log_name
from recsys.state.histories import StoredHistory
from recsys.state.item_log import Delete, Upsert, change_of
from recsys.versions.contents import declared_item, snapshot
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore

ITEMS, USERS, EVENTS = "items", "users", "events"
_ITEMS_A_FILE = 8192
"""With a vector of 384 numbers each some 12 MB."""
_EVENTS_A_FILE = 250_000
_USERS_A_FILE = 100_000
_EVENT_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("type", pa.string()),
        ("value", pa.float64()),
        ("timestamp", MOMENT),
        ("request_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The served version, and the attributes that are declared now."""

    store: VersionStore
    manifest: Manifest
    attributes: Mapping[str, AttributeType]


def items(catalogue: Catalogue, spool: Spool) -> Iterator[pa.Table]:
    """Yield the items that are served, shard by shard, with the vectors of their texts.

    Items whose text the version's encoder has not encoded follow at last, without the column: `recsys build` encodes
    them.
    """
    manifest, unencoded = catalogue.manifest, list[Item]()
    for shard in range(len(manifest.shards)):
        content, vectors = _live(catalogue, shard, spool)
        encoded = [item for item in content.values() if item.passage() in vectors]
        unencoded += [item for item in content.values() if item.passage() not in vectors]
        for start in range(0, len(encoded), _ITEMS_A_FILE):
            part = encoded[start : start + _ITEMS_A_FILE]
            flat = pa.array([x for item in part for x in vectors[item.passage()].tolist()], pa.float32())
            column = pa.FixedSizeListArray.from_arrays(flat, manifest.encoder.dimension)
            table = item_table(part, manifest.fingerprint, catalogue.attributes)
            yield table.append_column(VECTOR, column)
    for start in range(0, len(unencoded), _ITEMS_A_FILE):
        part = unencoded[start : start + _ITEMS_A_FILE]
        yield item_table(part, manifest.fingerprint, catalogue.attributes)


def _live(catalogue: Catalogue, shard: int, spool: Spool) -> tuple[dict[str, Item], dict[str, Floats]]:
    """Return a shard's items with its log applied, by id, and vectors by text."""
    manifest = catalogue.manifest
    before, rows = snapshot(catalogue.store, manifest, shard)
    content = {item.item_id: item for item in before}
    vectors = {item.passage(): row for item, row in zip(before, rows, strict=True)}
    for entry in spool.entries(f"log:{log_name(shard, manifest.layout)}".encode(), manifest.shards[shard].cursor):
        change = change_of(dict(zip(entry.fields[::2], entry.fields[1::2], strict=True)))
        if isinstance(change, Upsert):
            content[change.item.item_id] = change.item
            if change.fingerprint == manifest.fingerprint:
                vectors[change.item.passage()] = change.vector
        elif isinstance(change, Delete):
            content.pop(change.item_id, None)
    ordered = sorted(content)
    return {i: declared_item(content[i], manifest, catalogue.attributes) for i in ordered}, vectors


def events(spool: Spool) -> Iterator[pa.Table]:
    """Yield the events of all users, a user's in the order of time."""
    page: list[Interaction] = []
    for _, history in _histories(spool):
        page += history
        if len(page) >= _EVENTS_A_FILE:
            yield _event_table(page)
            page = []
    if page:
        yield _event_table(page)


def users(spool: Spool, declared: Mapping[str, AttributeType]) -> Iterator[pa.Table]:
    """Yield the users who have events or attributes."""
    spans = {
        user: (len(h), h[0].timestamp if h else None, h[-1].timestamp if h else None) for user, h in _histories(spool)
    }
    about = {
        record.key.decode().partition(":")[2]: _attributes(record.value, declared)
        for record in spool.records(b"about:")
    }
    names = sorted(spans.keys() | about.keys())
    for start in range(0, len(names), _USERS_A_FILE):
        part = names[start : start + _USERS_A_FILE]
        counts = [spans.get(name, (0, None, None)) for name in part]
        columns = {
            "user_id": pa.array(part, pa.string()),
            "events": pa.array([count for count, _, _ in counts], pa.int64()),
            "first_event": pa.array([microseconds(first) for _, first, _ in counts], MOMENT),
            "last_event": pa.array([microseconds(last) for _, _, last in counts], MOMENT),
        }
        if declared:
            columns["attributes"] = attribute_column([about.get(name, {}) for name in part], declared)
        yield pa.table(columns)


def _histories(spool: Spool) -> Iterator[tuple[str, list[Interaction]]]:
    for record in spool.records(b"events:"):
        user_id, cells = record.key.decode().partition(":")[2], list(record.value)
        fields = dict(zip(cells[::2], cells[1::2], strict=True))
        yield user_id, StoredHistory(user_id, 0, fields, False).events()  # type: ignore[arg-type] # bytes, of a hash


def _attributes(value: object, declared: Mapping[str, AttributeType]) -> dict[str, AttributeValue]:
    """The attributes of a user that are declared now and have the type declared."""
    cells, kept = list(value), dict[str, AttributeValue]()  # type: ignore[call-overload]
    for name, text in zip(cells[::2], cells[1::2], strict=True):
        kind = declared.get(name.decode())
        if kind is not None:
            try:
                kept[name.decode()] = checked_attribute(orjson.loads(text), kind)
            except ValueError:
                continue
    return kept


def _event_table(rows: list[Interaction]) -> pa.Table:
    columns = {name: [getattr(row, name) for row in rows] for name in _EVENT_SCHEMA.names}
    columns["timestamp"] = [microseconds(row.timestamp) for row in rows]
    return pa.table(columns, schema=_EVENT_SCHEMA)
