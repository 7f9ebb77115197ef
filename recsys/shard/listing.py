"""A shard's items one page after another, in an order that no write and no change of version disturbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys.datatypes import Filter, Item, item_key

if TYPE_CHECKING:  # composers and commands use `order_of`, and need not import what a shard is made of
    from recsys.shard.shard import Shard


def order_of(item_id: str) -> tuple[int, str]:
    """Sort key of a catalogue's pages: the hash of the id, then the id. It does not depend on shard, row or version."""
    return item_key(item_id), item_id


def page(shard: Shard, after: str | None, limit: int, given: Filter | None) -> list[Item]:
    """The first `limit` stored items behind the id `after` (None: from the first on) that match the filter (None: all).

    Hidden items are among them. Looks at the key of every row.
    """
    items = shard.items
    rows = items.stored_rows()
    if given is not None:
        mask = shard.lists.mask(given)
        rows = rows[rows < len(mask)]
        rows = rows[mask[rows]]
    keys = items.keys.view[rows]
    if after is not None:
        key = item_key(after)
        behind = keys > key
        for place in np.flatnonzero(keys == key).tolist():  # the item itself, and any that shares its key
            behind[place] = items.ids[int(rows[place])] > after
        rows, keys = rows[behind], keys[behind]
    if len(rows) > limit:
        rows = rows[keys <= np.partition(keys, limit - 1)[limit - 1]]
    chosen = sorted((order_of(items.ids[row]), row) for row in rows.tolist())[:limit]
    return [items.item(row) for _, row in chosen]
