"""An order for what has none of its own: events of one moment, and the items of a catalogue.

It follows hashes of ids, so neither the order of rows in a file nor the order of arrival changes it. The ids themselves
would not do: many systems number items as they are added, and old items are popular. The user is part of an event's
hash, so that the same item is not the last one of every user.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recsys.datatypes import Item, Keys, item_key, item_keys

TELLING = 0.05
"""Commands warn when the last two events of at least this share of the users tie."""

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""SplitMix64 (Steele, Lea and Flood 2014)."""


def tie(user_id: str, item_id: str) -> int:
    """64 bits. Of events of one user at one moment, the one with the larger value counts as the later."""
    return _mix((_mix(item_key(user_id)) + item_key(item_id)) & _MASK)


def ties(users: Keys, items: Keys) -> Keys:
    """(n,) uint64: `tie` of n pairs, given as keys (see `datatypes.item_keys`)."""
    return _mixed(_mixed(users) + items)


def decided_by_ties(share: float) -> str | None:
    """A warning about data in which the last two events of this share of the users tie; None: too few to matter."""
    if share < TELLING:
        return None
    return (
        f"of {share:.0%} of the users the last two events have one time: which is the last is drawn by a hash of their "
        "ids, as no file order can tell; finer times would (docs/training.md, Ties)"
    )


def in_catalogue_order(items: Iterable[Item]) -> Sequence[Item]:
    """Each item once, by the hash of its id. Of several with one id the last stays.

    Equal scores go to the item that stands first (see `index.base.best`), so this decides them. A sequence that is in
    this order already is returned as it is.
    """
    given = items if isinstance(items, Sequence) else list(items)
    keys = item_keys(item.item_id for item in given)
    order = np.argsort(keys, kind="stable")
    if (keys[order[1:]] > keys[order[:-1]]).all():
        ordered = bool((order[1:] > order[:-1]).all())
        return given if ordered else [given[place] for place in order.tolist()]
    by_id = {item.item_id: item for item in given}  # some ids occur twice, or share a hash
    return sorted(by_id.values(), key=lambda item: (item_key(item.item_id), item.item_id))


def _mix(value: int) -> int:
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _mixed(values: Keys) -> Keys:
    """`_mix` of each; arrays of uint64 wrap around by themselves."""
    values = values + np.uint64(_STEP)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))
