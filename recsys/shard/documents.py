"""What only a read of an item itself needs, as one JSON document for each row: no search looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from recsys.columns import NO_STRINGS, StringColumn, Strings
from recsys.datatypes import Item


class Documents:
    """One document for each row of a shard, in the order of the rows."""

    def __init__(self) -> None:
        self._snapshot = NO_STRINGS
        """Of the snapshot's rows: a map of their file, of which memory holds only what somebody reads."""
        self._later = Strings()
        """Of the rows behind them."""

    def adopt(self, documents: StringColumn) -> None:
        """Take over the documents of the first rows."""
        self._snapshot = documents

    def extend(self, items: Sequence[Item]) -> None:
        """Add a row for each item."""
        self._later.extend([_document(item) for item in items])

    @property
    def later(self) -> Strings:
        """Those of the rows that were not adopted."""
        return self._later

    def fields(self, row: int) -> dict[str, Any]:
        """The fields of the row's item, but for its id and title."""
        later = row - len(self._snapshot)
        fields: dict[str, Any] = orjson.loads(self._snapshot[row] if later < 0 else self._later[later])
        return fields


def document_column(items: Sequence[Item]) -> StringColumn:
    """The documents of the items, in their order, as `Documents.adopt` takes them."""
    return StringColumn.of([_document(item) for item in items])


def _document(item: Item) -> str:
    """The item as JSON, without what has a column of its own (id and title), and without what is as `Item` says."""
    document = {
        "text": item.text,
        "attributes": dict(item.attributes),
        "created_at": item.created_at,
        "hidden": item.hidden,
        "available_from": item.available_from,
        "available_until": item.available_until,
    }
    return orjson.dumps({name: value for name, value in document.items() if not _usual(value)}).decode()


def _usual(value: Any) -> bool:
    """Whether an `Item` has the value without being told: a time of 0 is a time."""
    return value is None or value is False or value in ("", {})
