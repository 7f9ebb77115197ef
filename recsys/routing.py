"""Which shards own an item, and which can hold a match of a filter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Condition, Filter, Item, item_key

FEEDS = 12
"""Feeds of changed likes. An item's feed does not depend on the shards, whose number may change. The number has many
divisors: a shard of 2, 3, 4, 6 or 12 follows the feeds of its own items and no others."""

FIRST = "0"
"""The layout of a platform whose shards were never changed."""


def shard_of(text: str, shards: int) -> int:
    """A text's shard: the same in every process and on every machine, unlike Python's hash."""
    return item_key(text) % shards


def log_name(shard: int, layout: str = FIRST) -> str:
    """A shard's log in a layout: the shard's number, and in a layout other than the first `@` and the layout's id."""
    return str(shard) if layout == FIRST else f"{shard}@{layout}"


@lru_cache(32_768)
def feed_of(item_id: str) -> int:
    """The number of the feed that tells of an item's likes. Remembered: events name the same items again and again."""
    return item_key(item_id) % FEEDS


@dataclass(frozen=True, slots=True)
class Router:
    spec: RoutingSpec
    shards: int

    @property
    def spread(self) -> int:
        """Shards over which items lie by chance, whatever they are like; 1 where an attribute decides."""
        return self.shards if self.spec.by == "hash" else 1

    def owner(self, item: Item) -> int:
        """The shard that an item belongs to. Items without the routing attribute live together."""
        if self.spec.attribute is None or self.spec.by == "hash":
            return shard_of(item.item_id, self.shards)
        owners = self.of_value(str(item.attributes.get(self.spec.attribute, "")))
        return owners[0] if len(owners) == 1 else owners[shard_of(item.item_id, len(owners))]

    def of_value(self, value: str) -> Sequence[int]:
        """The shards that hold the items with this value of the routing attribute."""
        return self.spec.placed.get(value) or (shard_of(value, self.shards),)

    def holders(self, item_id: str) -> list[int]:
        """The shards that may hold an item of which only the id is known."""
        return [shard_of(item_id, self.shards)] if self.spec.by == "hash" else list(range(self.shards))

    def feeds(self, shard: int) -> Sequence[int]:
        """The feeds that tell of a shard's items."""
        if self.spec.by == "attribute":  # an item's id does not say which shard holds it
            return range(FEEDS)
        step = math.gcd(self.shards, FEEDS)
        return range(shard % step, FEEDS, step)

    @property
    def pins(self) -> bool:
        """Whether a filter may name the shards that it needs."""
        return self.spec.by == "attribute" and self.shards > 1

    def matching(self, given: Filter | None) -> set[int]:
        """The shards that can hold a match: all, unless conditions pin the routing attribute to some values, as one of
        `must` does, or all of `should` together. At least one, though nothing can match.
        """
        everywhere = set(range(self.shards))
        if given is None or not self.pins:
            return everywhere
        shards = everywhere
        for condition in given.must:
            if self._pinned(condition):
                shards = shards & self._of_values(condition)
        if given.should and all(self._pinned(condition) for condition in given.should):
            shards = shards & set().union(*(self._of_values(condition) for condition in given.should))
        for other in given.also:
            shards = shards & self.matching(other)
        return shards or {0}

    def _pinned(self, condition: Condition) -> bool:
        return condition.key == self.spec.attribute and condition.op == "any"

    def _of_values(self, condition: Condition) -> set[int]:
        return {shard for value in condition.values for shard in self.of_value(str(value))}


@dataclass(frozen=True, slots=True)
class Layout:
    """The shards that a version is built for. Each layout has logs of its own, one a shard, see `state/layouts.py`."""

    id: str
    """FIRST, or drawn at random when the platform began to move to it. Versions and logs of one layout share it."""
    router: Router


def placement(counts: Mapping[str, int], shards: int) -> dict[str, list[int]]:
    """Shards for the values of a routing attribute, by how many items have each, so that shards are about equally full.

    A value of more items than an even share is split into as many pieces as it has shares, rounded up; then the pieces
    are placed, largest first, each in the shard that has least so far, and no two of one value in the same. Graham's
    rule (1969): no shard gets more than 4/3 of what the best placement would give the fullest.
    """
    share = max(sum(counts.values()) / max(shards, 1), 1.0)
    pieces = [
        (count / parts, value)
        for value, count in counts.items()
        for parts in [max(min(math.ceil(count / share), shards), 1)]
        for _ in range(parts)
    ]
    filled, placed = [0.0] * shards, dict[str, list[int]]()
    for size, value in sorted(pieces, key=lambda piece: (-piece[0], piece[1])):
        taken = placed.setdefault(value, [])
        shard = min((n for n in range(shards) if n not in taken), key=lambda n: (filled[n], n))
        taken.append(shard)
        filled[shard] += size
    return {value: sorted(taken) for value, taken in sorted(placed.items())}
