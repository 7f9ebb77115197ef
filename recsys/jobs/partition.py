"""Which shards the values of a routing attribute go to, proposed from the items that there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from recsys.config.platform import Platform, RoutingSpec
from recsys.datatypes import Item
from recsys.errors import BadInput
from recsys.routing import Router, placement


@dataclass(frozen=True, slots=True)
class Partition:
    routing: RoutingSpec
    counts: Mapping[str, int]
    """Items by value, most first; "" is of those that have none."""
    before: Sequence[int]
    """Items of each shard where the hash of a value alone decides."""
    after: Sequence[int]
    """The same with this routing."""


def proposed(items: Iterable[Item], attribute: str, platform: Platform) -> Partition:
    """Raises BadInput for an attribute that is not declared as keyword."""
    if platform.attributes.get(attribute) != "keyword":
        keywords = ", ".join(sorted(name for name, kind in platform.attributes.items() if kind == "keyword")) or "none"
        raise BadInput(f"attribute: {attribute!r} is not declared as keyword; there are: {keywords}", field="attribute")
    own = list(items)
    counts = Counter(str(item.attributes.get(attribute, "")) for item in own)
    by_hash = RoutingSpec(by="attribute", attribute=attribute)
    routing = by_hash.model_copy(update={"placed": placement(counts, platform.shards)})
    before, after = (_filled(own, Router(spec, platform.shards)) for spec in (by_hash, routing))
    return Partition(routing, dict(counts.most_common()), before, after)


def _filled(items: Iterable[Item], router: Router) -> list[int]:
    owned = Counter(router.owner(item) for item in items)
    return [owned[shard] for shard in range(router.shards)]
