"""Where each item of a shard stands: its row by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.columns import StringColumn, Strings, find
from recsys.datatypes import Keys, Rows, item_key, item_keys
from recsys.index.base import NO_ROW


class RowsById:
    """One writer, many readers.

    The items of a snapshot are found by the keys of their ids in a sorted array: at most 12 bytes an item, where a
    dictionary takes 140 and keeps the strings in memory. What came, moved or went since then is in a dictionary. A
    build puts items into the order of their keys, so nearly always the array is the column of the keys itself.
    """

    def __init__(self, ids: Strings) -> None:
        """`ids`: by row, extended by their owner before a row is added here."""
        self._ids = ids
        self._keys: Keys = np.zeros(0, np.uint64)
        self._rows: npt.NDArray[np.int32] | None = None
        """By place in the keys; None: the place is the row."""
        self._later: dict[str, int] = {}
        """Before the snapshot's; NO_ROW: the item is gone."""
        self._live = 0

    def __len__(self) -> int:
        """Items that are here."""
        return self._live

    def adopt(self, keys: Keys) -> None:
        """Take over a snapshot, whose rows are 0 to n - 1; `keys` are of their ids. Of equal ids the last counts."""
        if bool((keys[1:] > keys[:-1]).all()):
            self._keys, self._live = keys, len(keys)
            return
        order = np.argsort(keys, kind="stable").astype(np.int32)
        ordered = keys[order]
        shared = np.zeros(len(keys), bool)
        shared[1:] = ordered[1:] == ordered[:-1]
        shared[:-1] |= shared[1:]
        self._keys, self._rows = ordered[~shared], order[~shared]
        # Two ids may share a key.
        self._later = {self._ids[row]: row for row in np.sort(order[shared]).tolist()}
        self._live = len(self._keys) + len(self._later)

    def get(self, item_id: str) -> int | None:
        """The item's row; None: it is not here."""
        row = self._later.get(item_id)
        if row is None:
            row = self._of_snapshot(item_id)
        return None if row == NO_ROW else row

    def find(self, item_ids: Sequence[str], keys: Keys | None = None) -> Rows:
        """(n,) int64 rows; NO_ROW for an item that is not here. `keys`: of the ids, where they are known."""
        if len(item_ids) == 1:
            row = self.get(item_ids[0])
            return np.array([NO_ROW if row is None else row], np.int64)
        at = find(self._keys, item_keys(item_ids) if keys is None else keys)
        rows = np.where(at < 0, NO_ROW, self._rows[at]) if self._rows is not None and len(self._rows) else at
        here = np.flatnonzero(rows != NO_ROW)
        names = [item_ids[place] for place in here.tolist()]
        if not self._named(rows[here], names):  # an id that is not here may have the key of one that is
            ids = self._ids.column
            others = [ids[row] != name for row, name in zip(rows[here].tolist(), names, strict=True)]
            rows[here[others]] = NO_ROW
        if self._later:
            later = self._later
            moved = [(place, later[item_id]) for place, item_id in enumerate(item_ids) if item_id in later]
            for place, row in moved:
                rows[place] = row
        return rows.astype(np.int64)

    def _named(self, rows: Rows, names: Sequence[str]) -> bool:
        """Whether the rows have these ids, compared all at once."""
        stored, wanted = self._ids.column.take(rows), StringColumn.of(names)
        return np.array_equal(stored.offsets, wanted.offsets) and np.array_equal(stored.blob, wanted.blob)

    def update(self, rows: Mapping[str, int]) -> None:
        """Items that came, or moved to these rows."""
        self._live += int(np.count_nonzero(self.find(list(rows)) == NO_ROW)) if rows else 0
        self._later.update(rows)

    def remove(self, item_id: str) -> None:
        """An item that is not here is passed over."""
        if self.get(item_id) is None:
            return
        self._live -= 1
        if self._of_snapshot(item_id) == NO_ROW:
            del self._later[item_id]
        else:
            self._later[item_id] = NO_ROW

    def _of_snapshot(self, item_id: str) -> int:
        key = item_key(item_id)
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        if at == len(self._keys) or int(self._keys[at]) != key:
            return NO_ROW
        row = at if self._rows is None else int(self._rows[at])
        return row if self._ids[row] == item_id else NO_ROW
