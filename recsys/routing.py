"""Which shards own an item, and which can hold a match of a filter."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config import RoutingSpec
from recsys.datatypes import Filter, Item, item_key


def shard_of(text: str, shards: int) -> int:
    """A text's shard: the same in every process and on every machine, unlike Python's hash."""
    return item_key(text) % shards


@dataclass(frozen=True, slots=True)
class Router:
    spec: RoutingSpec
    shards: int

    def owner(self, item: Item) -> int:
        """The shard that an item belongs to. Items without the routing attribute live together."""
        if self.spec.attribute is None or self.spec.by == "hash":
            return shard_of(item.item_id, self.shards)
        return shard_of(str(item.attributes.get(self.spec.attribute, "")), self.shards)

    def holders(self, item_id: str) -> list[int]:
        """The shards that may hold an item of which only the id is known."""
        return [shard_of(item_id, self.shards)] if self.spec.by == "hash" else list(range(self.shards))

    def feed(self, item_id: str) -> int:
        """The number of the feed that tells the item's shard of its likes: the shard's own, or one for all shards
        where an item's id does not say which shard holds it.
        """
        return shard_of(item_id, self.shards) if self.spec.by == "hash" else 0

    def feed_of(self, shard: int) -> int:
        """The feed that a shard follows."""
        return shard if self.spec.by == "hash" else 0

    def matching(self, given: Filter | None) -> set[int]:
        """The shards that can hold a match: all, unless a `must` pins the routing attribute to some values."""
        if given is not None and self.spec.by == "attribute":
            for condition in given.must:
                if condition.key == self.spec.attribute and condition.op == "any":
                    return {shard_of(str(v), self.shards) for v in condition.values}
        return set(range(self.shards))
