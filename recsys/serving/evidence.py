"""Why items are in an answer, by what the user did: the answer is made again without it, many times in one batch.

What a like adds is what the score loses when the user had never had to do with that item. So it counts whatever the
version and the scenario make of a like: tastes, neighbours, trees, rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from recsys.answers import Evidence, LikedItem, Recommendation, SharedValue, Slate
from recsys.datatypes import Interaction, Item, UserProfile
from recsys.model.profiles import fold
from recsys.model.taste import Taste, needed
from recsys.ranking.batch_query import Prepared
from recsys.ranking.served_version import Serve
from recsys.serving.pipeline import Recommender
from recsys.state.histories import ordered
from recsys.transport.shard_clients import Shards

UNITS = 40
"""Items of the history that are tried, newest first. Older ones add hardly anything to a taste."""
_TOLD = 3
"""Likes and shared values of an item that are told."""
_PAIRED = 5
"""Of the items that add most, those of which all pairs are tried."""
_SIZES = (3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 34, UNITS)
"""Sizes of larger sets: of the items that add most."""
_TOGETHER = 64
"""Answers that are made in one batch."""
LOOKUP_S = 2.0
"""Seconds for what shards have to say of items."""

Kept = frozenset[str]


class EvidenceFinder:
    def __init__(self, recommender: Recommender, shards: Shards, taste: Taste) -> None:
        self._recommender = recommender
        self._shards = shards
        self._taste = taste

    async def with_evidence(
        self, slate: Slate, prepared: Prepared, history: Sequence[Interaction], serve: Serve
    ) -> Slate:
        """The slate with evidence for each item. `prepared`: its query. `history`: of its user, oldest first."""
        events = ordered([*history, *prepared.query.basket])
        if not events or not slate.items:
            nothing = Evidence((), (), None, exact=True)
            return structs.replace(slate, items=tuple(structs.replace(i, evidence=nothing) for i in slate.items))
        wanted = needed(events, self._taste, serve.space)
        vectors, _ = await self._shards.vectors(serve.version, wanted, LOOKUP_S)
        work = _Hypothetical(self._recommender, prepared, events, vectors, self._taste, serve)
        await work.without([frozenset(), *(frozenset([unit]) for unit in work.units)])
        by_id, _ = await self._shards.items(
            serve.version, [*(item.item_id for item in slate.items), *work.units], LOOKUP_S
        )
        sets = await _smallest_sets(work, [item.item_id for item in slate.items])
        items = [
            structs.replace(item, evidence=_evidence(item, work, sets[item.item_id], by_id)) for item in slate.items
        ]
        return structs.replace(slate, items=tuple(items))


class _Hypothetical:
    """Answers to one query, had the user never had to do with some items."""

    def __init__(
        self,
        recommender: Recommender,
        prepared: Prepared,
        events: Sequence[Interaction],
        vectors: Mapping[str, object],
        taste: Taste,
        serve: Serve,
    ) -> None:
        self._recommender = recommender
        plain = structs.replace(prepared.query, explain=False, request_id=None, basket=())
        self._prepared = structs.replace(prepared, query=plain)
        self._events = events
        self._vectors = vectors
        self._taste = taste
        self._serve = serve
        speaking = [event.item_id for event in reversed(events) if taste.speaks(event)]
        self.units = list(dict.fromkeys(speaking))[:UNITS]
        """Ids of items that the user has had to do with, newest first."""
        self._found: dict[Kept, dict[str, tuple[float, int]]] = {}
        """Score and place of each item of an answer."""

    async def without(self, sets: Iterable[Kept]) -> None:
        """Make the answers without each of these sets."""
        wanted = [gone for gone in dict.fromkeys(sets) if gone not in self._found]
        for start in range(0, len(wanted), _TOGETHER):
            some = wanted[start : start + _TOGETHER]
            batch = [structs.replace(self._prepared, profile=self._profile(gone)) for gone in some]
            for gone, slate in zip(some, await self._recommender.answer(batch, self._serve), strict=True):
                if isinstance(slate, Exception):
                    raise slate
                self._found[gone] = {item.item_id: (item.score, item.rank) for item in slate.items}

    def lacks(self, gone: Kept, item_id: str) -> bool:
        """Whether the item is not in the answer without the set."""
        return item_id not in self._found[gone]

    def effect(self, item_id: str, unit: str) -> tuple[float, int | None]:
        """What the item's score loses without the unit, all of it where it is not there then, and its place then."""
        score, _ = self._found[frozenset()].get(item_id, (0.0, 0))
        less, place = self._found[frozenset([unit])].get(item_id, (0.0, None))
        return score - less, place

    def strongest(self, item_id: str) -> list[str]:
        """The units, first those without which the item is not there, then those that keep it in its place."""

        def order(unit: str) -> tuple[bool, int, float]:
            adds, place = self.effect(item_id, unit)
            return place is not None, -(place or 0), -adds

        return sorted(self.units, key=order)

    def _profile(self, gone: Kept) -> UserProfile:
        kept = [event for event in self._events if event.item_id not in gone]
        space = self._serve.space
        folded = fold(space.unknown_user(), kept, self._vectors, self._taste, 1, space)  # type: ignore[arg-type]
        return self._prepared.profile if folded is None else folded


async def _smallest_sets(work: _Hypothetical, items: Sequence[str]) -> dict[str, tuple[Kept | None, bool]]:
    """For each item the smallest set found without which it is not there, and whether no smaller one exists."""
    ranked = {item: work.strongest(item) for item in items}
    smallest: dict[str, tuple[Kept | None, bool]] = {}
    for item in items:
        if (alone := next((u for u in ranked[item] if work.lacks(frozenset([u]), item)), None)) is not None:
            smallest[item] = frozenset([alone]), True
    left = [item for item in items if item not in smallest]
    tried = {item: _larger(ranked[item]) for item in left}
    await work.without(gone for sets in tried.values() for gone in sets)
    for item in left:
        gone = next((one for one in tried[item] if work.lacks(one, item)), None)
        exact = gone is not None and len(gone) == 2  # no single one did it
        smallest[item] = gone, exact
    await _pruned(work, smallest)
    return smallest


def _larger(units: Sequence[str]) -> list[Kept]:
    """Sets of two or more, the smallest first. `units`: what adds most comes first."""
    pairs = [frozenset(pair) for pair in itertools.combinations(units[:_PAIRED], 2)]
    sizes = [size for size in _SIZES if size < len(units)]
    return [*pairs, *(frozenset(units[:size]) for size in (*sizes, len(units)) if size > 2)]


async def _pruned(work: _Hypothetical, smallest: dict[str, tuple[Kept | None, bool]]) -> None:
    """Take out of each set, one after another, what it does not need."""
    growing = {item: gone for item, (gone, _) in smallest.items() if gone is not None and len(gone) > 2}
    while growing:
        await work.without(gone - {unit} for gone in growing.values() for unit in gone)
        smaller = {}
        for item, gone in growing.items():
            spare = next((unit for unit in sorted(gone) if work.lacks(gone - {unit}, item)), None)
            if spare is not None:
                smaller[item] = gone - {spare}
                smallest[item] = smaller[item], False
        growing = {item: gone for item, gone in smaller.items() if len(gone) > 1}


def _evidence(
    item: Recommendation, work: _Hypothetical, smallest: tuple[Kept | None, bool], by_id: Mapping[str, Item]
) -> Evidence:
    gone, exact = smallest
    effects = [(unit, *work.effect(item.item_id, unit)) for unit in work.strongest(item.item_id)]
    likes = tuple(
        LikedItem(unit, by_id[unit].title if unit in by_id else "", round(adds, 6), place)
        for unit, adds, place in effects[:_TOLD]
        if adds > 0 or place is None or place > item.rank
    )
    without = None if gone is None else tuple(unit for unit in work.units if unit in gone)
    return Evidence(likes, _shared(item.item_id, work.units, by_id), without, exact)


def _shared(item_id: str, units: Sequence[str], by_id: Mapping[str, Item]) -> tuple[SharedValue, ...]:
    """Keywords that the item has in common with most items of the history."""
    if item_id not in by_id:
        return ()
    holders: dict[tuple[str, str], list[str]] = {}
    own = set(_keywords(by_id[item_id]))
    for unit in units:
        for pair in _keywords(by_id[unit]) if unit in by_id else ():
            if pair in own:
                holders.setdefault(pair, []).append(unit)
    most = sorted(holders.items(), key=lambda one: -len(one[1]))[:_TOLD]
    return tuple(SharedValue(attribute, value, tuple(items[:_TOLD])) for (attribute, value), items in most)


def _keywords(item: Item) -> Iterable[tuple[str, str]]:
    for name, value in item.attributes.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, list):
            yield from ((name, one) for one in value)
