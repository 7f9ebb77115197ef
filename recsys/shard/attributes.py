"""Typed attribute columns of a shard's rows, and the masks that filters make of them.

Keywords are posting lists (value -> rows). Numbers, times (Unix seconds) and truth values (0 or 1) are float64 columns.
Rows are only appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.columns import Column, Part, Strings
from recsys.config.platform import AttributeType
from recsys.datatypes import CREATED_AT, ITEM_ID, AttributeValue, Condition, Filter, Keys, Rows, item_key, item_keys

Mask = npt.NDArray[np.bool_]


class _Keywords:
    def __init__(self) -> None:
        self._postings: dict[str, Column[np.int64]] = {}
        self.first = Column(np.uint64)
        """Key of each row's first value; 0: it has none."""
        self._present = Column(np.int64)

    def extend(self, first_row: int, values: Sequence[AttributeValue | None]) -> None:
        added: dict[str, list[int]] = {}
        present = []
        first = np.zeros(len(values), np.uint64)
        for row, value in enumerate(values, first_row):
            words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            if words:
                present.append(row)
                first[row - first_row] = item_key(words[0])
            for word in dict.fromkeys(words):
                added.setdefault(word, []).append(row)
        for word, rows in added.items():
            self._postings.setdefault(word, Column(np.int64)).extend(rows)
        self._present.extend(present)
        self.first.extend(first)

    def mask(self, condition: Condition, n: int, start: int) -> Mask:
        mask = np.zeros(n - start, bool)
        if condition.op == "exists":
            _mark(mask, self._present, start)
            return mask if condition.exists else ~mask
        for value in condition.values:
            postings = self._postings.get(str(value))
            if postings is not None:
                _mark(mask, postings, start)
        return mask


class _Numbers:
    """`values`: in a column that its owner extends; None: in one of their own."""

    def __init__(self, values: Column[np.float64] | Part[np.float64] | None = None) -> None:
        self._own = Column(np.float64)
        self._values = self._own if values is None else values

    def extend(self, first_row: int, values: Sequence[AttributeValue | None]) -> None:  # noqa: ARG002
        self._own.extend([float(v) if isinstance(v, (int, float)) else np.nan for v in values])

    def mask(self, condition: Condition, n: int, start: int) -> Mask:
        values = self._values.view[start:n]
        if condition.op == "exists":
            return np.isnan(values) != condition.exists
        if condition.op == "any":
            return np.isin(values, np.array(condition.values, np.float64))
        above = values > condition.low if condition.low_open else values >= condition.low
        below = values < condition.high if condition.high_open else values <= condition.high
        return above & below


class _Ids:
    """The items' own ids, in columns that their owner extends."""

    def __init__(self, keys: Column[np.uint64], ids: Strings) -> None:
        self._keys = keys
        self._ids = ids

    def mask(self, condition: Condition, n: int, start: int) -> Mask:
        if condition.op == "exists":
            return np.full(n - start, condition.exists)
        values = [str(value) for value in condition.values]
        mask = np.isin(self._keys.view[start:n], item_keys(values))
        for row in np.flatnonzero(mask).tolist():  # two ids may share a key
            mask[row] = self._ids[start + row] in values
        return mask


def _mark(mask: Mask, postings: Column[np.int64], start: int) -> None:
    rows = postings.view
    first, end = np.searchsorted(rows, (start, start + len(mask)))
    mask[rows[first:end] - start] = True


class Attributes:
    """The declared attributes of all rows of a shard."""

    def __init__(
        self,
        declared: Mapping[str, AttributeType],
        created_at: Column[np.float64] | Part[np.float64] | None = None,
        ids: tuple[Column[np.uint64], Strings] | None = None,
    ) -> None:
        """`created_at`: the items' own times, and `ids`: their keys and ids, in columns that their owner extends; None:
        filters cannot test them.
        """
        self._columns: dict[str, _Keywords | _Numbers | _Ids] = {
            key: _Keywords() if kind in ("keyword", "keyword[]") else _Numbers() for key, kind in declared.items()
        }
        self._extended = {key: column for key, column in self._columns.items() if not isinstance(column, _Ids)}
        if created_at is not None:
            self._columns.setdefault(CREATED_AT, _Numbers(created_at))
        if ids is not None:
            self._columns.setdefault(ITEM_ID, _Ids(*ids))

    def adopt(self, blocks: Iterable[Sequence[Mapping[str, AttributeValue]]]) -> None:
        """Add the first rows, some at a time."""
        first = 0
        for block in blocks:
            self.extend(first, block)
            first += len(block)

    def extend(self, first_row: int, attributes: Sequence[Mapping[str, AttributeValue]]) -> None:
        """Add rows, of which the first has the number `first_row`."""
        for key, column in self._extended.items():
            column.extend(first_row, [a.get(key) for a in attributes])

    def mask(self, given: Filter, n: int, start: int = 0) -> Mask:
        """(n - start,) bool: which of the rows from `start` up to n match."""
        mask = np.ones(n - start, bool)
        for condition in given.must:
            mask &= self._test(condition, n, start)
        if given.should:
            mask &= np.logical_or.reduce([self._test(c, n, start) for c in given.should])
        for condition in given.must_not:
            mask &= ~self._test(condition, n, start)
        for other in given.also:
            mask &= self.mask(other, n, start)
        return mask

    def groups(self, keys: Sequence[str], rows: Rows) -> Keys:
        """(len(rows), len(keys)) uint64: key of the first value of each keyword attribute; 0 for none."""
        groups = np.zeros((len(rows), len(keys)), np.uint64)
        for place, key in enumerate(keys):
            column = self._columns.get(key)
            if isinstance(column, _Keywords):
                groups[:, place] = column.first.view[rows]
        return groups

    def rows(self, given: Filter, n: int) -> Rows:
        """(m,) int64: those of the first n rows that match, in ascending order."""
        return np.flatnonzero(self.mask(given, n))

    def _test(self, condition: Condition, n: int, start: int) -> Mask:
        column = self._columns.get(condition.key)
        # A version that was built before the attribute was declared has no such column: no row has the attribute.
        if column is None:
            return np.full(n - start, condition.op == "exists" and not condition.exists)
        return column.mask(condition, n, start)
