"""A shard's items as columns. Rows are only appended: an upsert is a new row and the old one's tombstone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.columns import Column, Part, StringColumn, Strings
from recsys.config.platform import AttributeType
from recsys.datatypes import AttributeValue, Floats, Item, Keys, Rows, item_keys
from recsys.index.base import NO_ROW
from recsys.model.learned import Learned
from recsys.shard.attributes import Attributes
from recsys.shard.availability import Availability
from recsys.shard.changed_rows import Journal
from recsys.shard.documents import Documents, document_column
from recsys.shard.equal_items import Twins
from recsys.shard.item_vectors import ItemVectors
from recsys.shard.rows_by_id import RowsById
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot_columns import SnapshotColumns
from recsys.shard.vacant_rows import VacantRows


class ItemTable:
    """One writer, many readers. `vectors` of the first rows may be a read-only map of the snapshot's file."""

    def __init__(
        self,
        declared: Mapping[str, AttributeType],
        dimension: int,
        sketcher: Sketcher,
        learned: Learned | None = None,
    ) -> None:
        self.ids = Strings()
        self.titles = Strings()
        self._documents = Documents()
        self.keys = Column(np.uint64)
        self.numbers = Column(np.float64, (3,))
        """`counts`, `trends` and `created_at` of a row side by side, for every candidate takes all three."""
        self.counts = Part(self.numbers, 0)
        """Weighted likes, never decayed."""
        self.trends = Part(self.numbers, 1)
        """Decayed likes as log2; -inf: none yet. See `serving/popularity_feed.py`."""
        self.created_at = Part(self.numbers, 2)
        """Unix seconds; NaN: unknown."""
        self.attributes = Attributes(declared, self.created_at, (self.keys, self.ids))
        self.most_likes = 0.0
        """The largest of `counts` among the items that are stored."""
        self.stored = Column(np.bool_)
        """Which rows are the rows of items."""
        self.alive = Column(np.bool_)
        """Which of them may be in an answer at the moment: the others are hidden, or it is not their time."""
        self.shown = 0
        """How many rows are alive."""
        self.availability = Availability(time.time())
        self.sketches = Column(np.int8, (sketcher.width,))
        self.generation = 0
        """Grows with every row that begins or ends to be alive: what was derived from an older generation is stale."""
        self.recounts = 0
        """Grows with every change of likes or trends."""
        self.journal = Journal()
        """Rows that came, went, were hidden or shown, or have other likes or trends."""
        self.slots = Column(np.int32)
        """The item's row in the snapshot, by which learned data is looked up; -1: the item came later."""
        self.dimension = dimension
        """Of a text vector."""
        self.learned = learned
        """None: vectors are texts alone."""
        self.width = dimension + (learned.dimension if learned else 0)
        self.twins = Twins(self.width - dimension)
        self._sketcher = sketcher
        self._rows = RowsById(self.ids)
        self._changing = threading.Lock()
        """Held by the writer, and by a search at a moment at which items begin or end to be available."""
        self._vectors = ItemVectors(dimension, learned)
        self._vacant: VacantRows | None = None

    def __len__(self) -> int:
        return len(self.alive)

    @property
    def live(self) -> int:
        """Items that are stored, whether they may be shown now or not."""
        return len(self._rows)

    @property
    def snapshot_rows(self) -> int:
        """How many rows came with the snapshot; the rows behind them came by the log."""
        return self._vectors.snapshot_rows

    def vacate(self, rows: Rows) -> None:
        """Give back what dead rows that came by the log hold in memory. Nobody looks at them any more: their vectors
        and documents are zeros from now on.
        """
        if self._vacant is None:
            later = (self._vectors.later, self._documents.later)
            self._vacant = VacantRows(self.snapshot_rows, later[:1], later[1:])
        self._vacant.add(rows)

    def row(self, item_id: str) -> int | None:
        return self._rows.get(item_id)

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """(n,) int64 rows of the items that are here, in the order of the ids."""
        rows = self.find(item_ids)
        return rows[rows != NO_ROW]

    def find(self, item_ids: Sequence[str], keys: Keys | None = None) -> Rows:
        """(n,) int64 row of each item; NO_ROW for one that is not here. `keys`: see `item_keys`; None: of the ids."""
        return self._rows.find(item_ids, keys)

    def contexts(self, rows: Rows) -> Floats:
        """(len(rows), width) float32: what a like of the item adds to a user, see `model/space.py`."""
        return self._vectors.contexts(rows, self.slots.view[rows])

    def vectors(self, rows: Rows) -> Floats:
        """(len(rows), width) float32."""
        return self._vectors.at(rows)

    def latest_vectors(self, start: int, end: int) -> Floats:
        """(end - start, width) float32 of rows that came by the log, as a view."""
        return self._vectors.latest(start, end)

    @property
    def rounded(self) -> bool:
        """Whether `vectors` gives others than the version was built of; `truth` gives those."""
        return self._vectors.rounded

    def truth(self, rows: Rows) -> Floats:
        """(len(rows), width) float32 as the version was built of them: for measurements, see `ItemVectors.truth`."""
        return self._vectors.truth(rows)

    def leave_out_vectors(
        self, coded: Callable[[Rows], Floats], stored: Callable[[], npt.NDArray[np.floating]]
    ) -> None:
        """Keep the vectors that were adopted no longer, see `ItemVectors.leave_out`."""
        self._vectors.leave_out(coded, stored)

    def adopt(self, items: Sequence[Item], vectors: npt.NDArray[np.floating]) -> None:
        """Fill an empty table with items and their (n, width) float32 or float16 vectors, which are not copied."""
        columns = SnapshotColumns.of(items, vectors, self._sketcher, self.dimension)
        self.adopt_columns(columns, vectors, document_column(items), [[item.attributes for item in items]])

    def adopt_columns(
        self,
        columns: SnapshotColumns,
        vectors: npt.NDArray[np.floating],
        documents: StringColumn,
        attributes: Iterable[Sequence[Mapping[str, AttributeValue]]],
    ) -> None:
        """Fill an empty table with what a version stores of n items. Nothing but the attributes is copied, so maps of
        files stay maps. `attributes`: those of all items, some at a time.
        """
        if len(self):
            raise ValueError("only an empty table can adopt vectors")
        n = len(columns.keys)
        self._vectors.adopt(vectors)
        self._documents.adopt(documents)
        self.twins.adopt(columns.twins)
        self.ids.adopt(columns.ids)
        self.titles.adopt(columns.titles)
        self.attributes.adopt(attributes)
        self.keys.adopt(columns.keys)
        self.numbers.adopt(columns.numbers)
        self.sketches.adopt(columns.sketches)
        self.slots.adopt(np.arange(n, dtype=np.int32))
        self.availability.adopt(columns.opens, columns.closes)
        self.stored.adopt(np.ones(n, bool))
        self._rows.adopt(self.keys.view)
        self.alive.adopt(self.availability.open_now())
        self.shown = int(np.count_nonzero(self.alive.view))
        self.generation += 1
        self.journal.add(np.arange(n))

    def append(self, items: Sequence[Item], vectors: Floats) -> Rows:
        """Add a row for each item. Readers see it after `reveal`.

        `vectors` are (n, dimension) text vectors. The learned part is that of the item's present row; of a new item it
        follows from the text. An item with the title and text of an earlier row takes over its text vector, so that the
        two are equal.
        """
        texts = self.twins.agreed(items, np.asarray(vectors, np.float32), self._texts)
        present = self.find([item.item_id for item in items])
        wide = self._vectors.widened(texts, present)
        self._vectors.extend(wide)
        self.twins.append(items, wide[:, self.dimension :])
        sketches = self._sketcher.sketch_each(texts)  # replicas must agree, however they read the log
        self._documents.extend(items)
        rows = self._extend(items, sketches)
        self.slots.view[rows] = [-1 if row == NO_ROW else self.slots.view[row] for row in present.tolist()]
        return rows

    def _texts(self, rows: Rows) -> Floats:
        return self.vectors(rows)[:, : self.dimension]

    def reveal(self, items: Sequence[Item], rows: Rows) -> Rows:
        """Make the appended (n,) rows the items' rows; of several with one id the last. Return the (m,) rows that they
        replace.

        A row and the one that it replaces change places in one store, so a reader meets exactly one of the two.
        """
        last = dict(zip((item.item_id for item in items), rows.tolist(), strict=True))
        born, before = np.fromiter(last.values(), np.int64, len(last)), self.find(list(last))
        old, new = before[before != NO_ROW], born[before != NO_ROW]
        # What people think of an item outlives a change of its text.
        self.counts.view[new], self.trends.view[new] = self.counts.view[old], self.trends.view[old]
        changed = np.concatenate([born, old])
        with self._changing:
            self.stored.view[changed] = np.arange(len(changed)) < len(born)
            self.alive.view[changed] = self.stored.view[changed] & self.availability.is_open(changed)
            self._rows.update(last)
            self._changed(np.concatenate([old, rows]))
        return np.concatenate([old, np.setdiff1d(rows, born)])

    def delete(self, item_ids: Sequence[str]) -> Rows:
        """Mark the items as deleted. Return the (n,) int64 rows that they had."""
        rows = self.rows(list(dict.fromkeys(item_ids)))
        for item_id in item_ids:
            self._rows.remove(item_id)
        with self._changing:
            self.stored.view[rows] = self.alive.view[rows] = False
            self._changed(rows)
        self._recount_most(was=self.counts.view[rows])
        return rows

    def count(self, item_ids: Sequence[str], counts: npt.ArrayLike, trends: npt.ArrayLike) -> None:
        """Take over likes and trends of n items, (n,) float64 each. Ids of items that are not here are passed over."""
        rows = self.find(item_ids)
        present = rows >= 0
        rows, likes, latest = rows[present], np.asarray(counts)[present], np.asarray(trends)[present]
        was = self.counts.view[rows]
        changed = (was != likes) | (self.trends.view[rows] != latest)
        if changed.any():
            self.counts.view[rows] = likes
            self.trends.view[rows] = latest
            self.most_likes = max(self.most_likes, float(likes.max()))
            self._recount_most(was=was[was > likes])
            self.recounts += 1
            with self._changing:
                self.journal.add(rows[changed])

    def set_clock(self, now: float) -> None:
        """Show and hide the items that are available from, or until, a moment that has passed. `now`: Unix seconds."""
        if self.availability.steady(now):
            return
        with self._changing:
            rows = self.availability.move(now)
            rows = rows[self.stored.view[rows]]
            self.alive.view[rows] = self.availability.is_open(rows)
            self._changed(rows)

    def _changed(self, rows: Rows) -> None:
        """Note rows that began or ended to be alive."""
        self.shown = int(np.count_nonzero(self.alive.view))
        self.generation += 1
        self.journal.add(rows)

    def _recount_most(self, was: npt.NDArray[np.float64]) -> None:
        """Update `most_likes` after items that had these likes were deleted, or lost some."""
        if self.most_likes and (was >= self.most_likes).any():
            stored = self.stored.view
            self.most_likes = float(self.counts.view[: len(stored)].max(where=stored, initial=0.0))

    def item(self, row: int) -> Item:
        """The item of a row."""
        return Item(self.ids[row], self.titles[row], **self._documents.fields(row))

    def stored_rows(self) -> Rows:
        """(n,) int64 rows of all items, in ascending order."""
        return np.flatnonzero(self.stored.view.copy())

    def live_rows(self) -> Rows:
        """(n,) int64 rows of the items that may be shown now, in ascending order."""
        # Copy first: `flatnonzero` counts and then fills, so a deletion between the two passes would give garbage rows.
        return np.flatnonzero(self.alive.view.copy())

    def _extend(self, items: Sequence[Item], sketches: npt.NDArray[np.int8]) -> Rows:
        first = len(self)
        ids = [item.item_id for item in items]
        self.ids.extend(ids)
        self.titles.extend([item.title for item in items])
        self.attributes.extend(first, [item.attributes for item in items])
        self.keys.extend(item_keys(ids))
        created = np.array([item.created_at for item in items], np.float64)
        self.numbers.extend(np.column_stack([np.zeros(len(items)), np.full(len(items), -np.inf), created]))
        self.slots.extend(np.full(len(items), -1))
        self.sketches.extend(sketches)
        rows = np.arange(first, first + len(items))
        with self._changing:
            self.availability.extend(items)
            self.stored.extend(np.zeros(len(items), bool))
            self.alive.extend(np.zeros(len(items), bool))
        self.generation += 1
        return rows
