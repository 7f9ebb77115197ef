"""A catalogue in memory as bytes: an item is made when somebody asks for it.

A Python object for each item takes some 650 bytes beside its texts, and ten million of them more memory than most
machines have. Packed, an item takes its texts and some 30 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.columns import Column
from recsys.data.made_on_demand import MadeOnDemand
from recsys.datatypes import Item, Rows, item_key, item_keys

_BLOCK = 1 << 12
"""Items that are packed at a time, and unpacked."""
_DECODE = msgspec.msgpack.Decoder().decode


class PackedItems(MadeOnDemand[Item]):
    """Items in the order in which they were added, or in that of `ordered`."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._bytes = Column(np.uint8)
        self._ends = Column(np.int64)
        self._keys = Column(np.uint64)
        """See `item_keys`."""
        self._order: Rows | None = None
        """Which of those that were added stands in each place; None: all, as they came."""
        self.extend(items)

    def extend(self, items: Iterable[Item]) -> None:
        block: list[Item] = []
        for item in items:
            block.append(item)
            if len(block) == _BLOCK:
                self._add(block)
                block = []
        self._add(block)

    def _add(self, items: Sequence[Item]) -> None:
        if self._order is not None:
            raise ValueError("items in catalogue order take no others")
        packed = [msgspec.msgpack.encode(_fields(item)) for item in items]
        start = len(self._bytes)
        self._bytes.extend(np.frombuffer(b"".join(packed), np.uint8))
        self._ends.extend(start + np.cumsum(np.fromiter(map(len, packed), np.int64, len(packed))))
        self._keys.extend(item_keys(item.item_id for item in items))

    def ordered(self) -> PackedItems:
        """Itself, with the items as `state.tie_breaking.in_catalogue_order` orders them, each once: of several with one
        id the last. It takes no more of them.
        """
        keys = self._keys.view
        order = np.argsort(keys, kind="stable")
        same = keys[order[1:]] == keys[order[:-1]]
        if same.any():
            order = self._each_once(order, same)
        self._order = order
        return self

    def _each_once(self, order: Rows, same: npt.NDArray[np.bool_]) -> Rows:
        """The order without earlier items of an id, and ids that share a key in their own order."""
        shared = np.zeros(len(order), bool)
        shared[1:] = same
        shared[:-1] |= same
        last: dict[str, int] = {}
        for number in np.sort(order[shared]).tolist():
            last[self._all(np.array([number]))[0].item_id] = number
        some = sorted(last.items(), key=lambda entry: (item_key(entry[0]), entry[0]))
        kept = np.concatenate([order[~shared], np.array([number for _, number in some], np.int64)])
        return kept[np.argsort(self._keys.view[kept], kind="stable")]

    def __len__(self) -> int:
        return len(self._keys) if self._order is None else len(self._order)

    def made(self, places: Rows) -> list[Item]:
        return self._all(places if self._order is None else self._order[places])

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def _all(self, numbers: Rows) -> list[Item]:
        """The items of these numbers, by the order in which they were added."""
        ends, whole = self._ends.view, self._bytes.view.data
        starts = np.where(numbers > 0, ends[numbers - 1], 0).tolist()
        parts = zip(starts, ends[numbers].tolist(), strict=True)
        return [Item(*_DECODE(whole[start:end])) for start, end in parts]


def _fields(item: Item) -> tuple[object, ...]:
    return (
        item.item_id,
        item.title,
        item.text,
        dict(item.attributes),
        item.created_at,
        item.hidden,
        item.available_from,
        item.available_until,
    )
