"""Why an item is not in an answer: the stage and the rule that dropped it, and the nearest change that keeps it.

The stages are looked at in the order in which an item passes them. What a stage did is found by making the answer again
without it, and each change that is told was tried: with it, the item is there. Nothing is guessed from scores.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from recsys.answers import Recommendation, Slate
from recsys.config.scenarios import Source
from recsys.datatypes import ITEM_ID, Condition, Filter, Item, RecQuery, Rule, item_key
from recsys.errors import RecsysError
from recsys.ranking.batch_query import Prepared
from recsys.ranking.served_version import Serve
from recsys.serving.pipeline import Recommender
from recsys.shard.sources import DEFAULT
from recsys.transport.shard_clients import Shards

LOOKUP_S = 2.0
"""As in `evidence.py`."""
_DEEPEST = 1000
"""Items that an answer is made of at the most, to see from which `k` on the item is there."""
_BOOSTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Weights that a boost of the item is tried with; the smallest that helps is narrowed down."""
_NARROWED = 16
"""Weights between two of them, all tried at once."""


class WhyNot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one item."""

    item_id: str
    present: bool
    """Whether it is in the answer after all."""
    stage: str | None = None
    """What dropped it, see docs/http-api.md; None: nothing did."""
    rule: str | None = None
    """Which condition, attribute, rule or item of that stage; None: there is only one."""
    change: dict[str, Any] | None = None
    """The nearest change that keeps it, as the request or the scenario would say it; None: none was found."""


class LeftOut:
    def __init__(self, recommender: Recommender, shards: Shards) -> None:
        self._recommender = recommender
        self._shards = shards

    async def why(self, items: Sequence[str], prepared: Prepared, slate: Slate, serve: Serve) -> list[WhyNot]:
        """Of each item, in order. `prepared`: the query of the slate."""
        by_id, _ = await self._shards.items(serve.version, items, LOOKUP_S)
        there = {item.item_id for item in slate.items}
        plain = structs.replace(prepared.query, explain=False, request_id=None)
        plainly = structs.replace(prepared, query=plain)
        work = _Trials(self._recommender, plainly, serve)
        return list(await asyncio.gather(*(self._why(item, item in there, by_id.get(item), work) for item in items)))

    async def _why(self, item_id: str, present: bool, item: Item | None, work: _Trials) -> WhyNot:
        if present:
            return WhyNot(item_id, present=True)
        for look in (_unknown, _hidden, _filtered, _excluded, _seen, _irrelevant, _ruled, _not_proposed, _outranked):
            why = await look(item_id, item, work)
            if why is not None:
                return why
        return WhyNot(item_id, present=False, stage="rank")


class _Trials:
    """Makes an answer again with changes."""

    def __init__(self, recommender: Recommender, prepared: Prepared, serve: Serve) -> None:
        self._recommender = recommender
        self.prepared = prepared
        self._serve = serve

    async def has(self, item_id: str, batch: Sequence[Prepared]) -> list[bool]:
        """Whether the item is in each of these answers."""
        slates = await self._recommender.answer(batch, self._serve) if batch else []
        return [isinstance(s, Slate) and any(i.item_id == item_id for i in s.items) for s in slates]

    async def slate(self, prepared: Prepared) -> Slate | None:
        [slate] = await self._recommender.answer([prepared], self._serve)
        if isinstance(slate, RecsysError):
            return None
        return slate if isinstance(slate, Slate) else None

    async def proposed(self, item_id: str, batch: Sequence[Prepared]) -> list[bool]:
        """Whether the item is among the candidates of each."""
        gathered = await self._recommender.candidates(batch, self._serve)
        if gathered is None:
            return [False] * len(batch)
        offsets, ids = gathered.candidates.offsets.tolist(), gathered.candidates.ids
        return [any(ids[row] == item_id for row in range(start, end)) for start, end in itertools.pairwise(offsets)]

    def with_query(self, **changes: Any) -> Prepared:
        return structs.replace(self.prepared, query=structs.replace(self.prepared.query, **changes))

    def with_scenario(self, **changes: Any) -> Prepared:
        return structs.replace(self.prepared, scenario=self.prepared.scenario.model_copy(update=changes))


async def _unknown(item_id: str, item: Item | None, _: _Trials) -> WhyNot | None:
    return WhyNot(item_id, False, "unknown", None, {"item": "write it"}) if item is None else None


async def _hidden(item_id: str, item: Item | None, _: _Trials) -> WhyNot | None:
    assert item is not None
    now = time.time()
    if item.hidden:
        return WhyNot(item_id, False, "hidden", None, {"item": {"hidden": False}})
    if item.available_from is not None and now < item.available_from:
        return WhyNot(item_id, False, "not_available_yet", None, {"item": {"available_from": None}})
    if item.available_until is not None and now >= item.available_until:
        return WhyNot(item_id, False, "not_available_any_more", None, {"item": {"available_until": None}})
    return None


async def _filtered(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    """Each condition is asked for with the item's id beside it: where that finds nothing, the item does not match."""
    given = work.prepared.filter
    if given is None:
        return None
    parts = _parts(given)
    own = Filter(must=(Condition(ITEM_ID, "any", (item_id,)),))
    query = RecQuery(k=1, include_seen=True, scenario=work.prepared.query.scenario)
    popular = work.prepared.scenario.model_copy(
        update={"sources": None, "min_relevance": None, "shun_above": None, "rotation": 0.0}
    )
    alone = structs.replace(work.prepared, query=query, scenario=popular, rules=(), shown=None, vector=None)
    matching = await work.proposed(item_id, [structs.replace(alone, filter=own.with_(part)) for _, part in parts])
    failing = [name for (name, _), fits in zip(parts, matching, strict=True) if not fits]
    if not failing:
        return None
    kept = [part for (name, part), fits in zip(parts, matching, strict=True) if fits]
    relaxed = None
    for part in kept:
        relaxed = part if relaxed is None else relaxed.with_(part)
    [helps] = await work.has(item_id, [structs.replace(work.prepared, filter=relaxed)])
    return WhyNot(item_id, False, "filter", ", ".join(failing), {"filter": {"without": failing}} if helps else None)


def _parts(given: Filter, place: str = "") -> list[tuple[str, Filter]]:
    """What has to hold, each by itself: conditions by their places, and all of `should` together."""
    parts = [(f"{place}must[{n}] {one.key}", Filter(must=(one,))) for n, one in enumerate(given.must)]
    if given.should:
        keys = ", ".join(dict.fromkeys(one.key for one in given.should))
        parts.append((f"{place}should {keys}", Filter(should=given.should)))
    parts += [(f"{place}must_not[{n}] {one.key}", Filter(must_not=(one,))) for n, one in enumerate(given.must_not)]
    for n, other in enumerate(given.also):
        parts += _parts(other, f"{place}also[{n}].")
    return parts


async def _excluded(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    query = work.prepared.query
    if item_id == query.like_item:
        return WhyNot(item_id, False, "excluded", "item_id", None)
    if item_id not in query.exclude:
        return None
    changed = work.with_query(exclude=tuple(one for one in query.exclude if one != item_id))
    [helps] = await work.has(item_id, [changed])
    return WhyNot(item_id, False, "excluded", "exclude", {"exclude": {"without": item_id}} if helps else None)


async def _seen(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    if work.prepared.query.include_seen or item_key(item_id) not in work.prepared.profile.seen:
        return None
    [helps] = await work.has(item_id, [work.with_query(include_seen=True)])
    return WhyNot(item_id, False, "seen", None, {"include_seen": True} if helps else None)


async def _irrelevant(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    least = work.prepared.least_relevance
    if least is None:
        return None
    [without, within] = await work.proposed(item_id, [work.with_scenario(min_relevance=None), work.prepared])
    if within or not without:
        return None
    steps = [least - (least + 1) * n / _NARROWED for n in range(1, _NARROWED + 1)]
    helps = await work.has(item_id, [work.with_scenario(min_relevance=step) for step in steps])
    change = next((step for step, good in zip(steps, helps, strict=True) if good), None)
    return WhyNot(
        item_id, False, "min_relevance", None, None if change is None else {"min_relevance": round(change, 6)}
    )


async def _ruled(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    """What one rule, cap or the like keeps out. In the order in which the answer is made."""
    prepared = work.prepared
    scenario, rules = prepared.scenario, prepared.rules
    tried: list[tuple[str, str | None, dict[str, Any], Prepared]] = [
        (
            "rule",
            rule.name,
            {"rules": {"without": rule.name}},
            structs.replace(prepared, rules=tuple(other for other in rules if other is not rule)),
        )
        for rule in rules
    ]
    if prepared.shown is not None:
        tried.append(("rotation", None, {"rotation": 0.0}, structs.replace(prepared, shown=None)))
    if prepared.shun_above is not None and prepared.profile.shunned:
        near = work.with_scenario(shun_above=None)
        tried.append(("shun_above", None, {"shun_above": None}, near))
    for key, most in scenario.caps.items():
        caps = {name: cap for name, cap in scenario.caps.items() if name != key}
        tried.append(("cap", key, {"caps": {key: None}}, work.with_scenario(caps=caps)))
        tried.append(("cap", key, {"caps": {key: most + 1}}, work.with_scenario(caps={**caps, key: most + 1})))
    if prepared.diversity > 0:
        tried.append(("diversity", None, {"diversity": 0.0}, work.with_query(diversity=0.0)))
    if prepared.explore > 0:
        tried.append(("explore", None, {"explore": 0.0}, work.with_query(explore=0.0)))
    helps = await work.has(item_id, [changed for *_, changed in tried])
    good = [(stage, rule, change) for (stage, rule, change, _), fits in zip(tried, helps, strict=True) if fits]
    if not good:
        return None
    stage, rule, change = good[0]
    if stage == "diversity":
        change = await _least_diversity(item_id, work)
    elif stage == "cap":  # one more is nearer than none at all
        change = next(c for s, r, c in reversed(good) if (s, r) == (stage, rule))
    return WhyNot(item_id, False, stage, rule, change)


async def _least_diversity(item_id: str, work: _Trials) -> dict[str, Any]:
    """The largest diversity, in sixteenths of the present one, with which the item is there."""
    steps = [work.prepared.diversity * (1 - n / _NARROWED) for n in range(1, _NARROWED + 1)]
    helps = await work.has(item_id, [work.with_query(diversity=step) for step in steps])
    return {"diversity": round(next(step for step, good in zip(steps, helps, strict=True) if good), 6)}


async def _not_proposed(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    [proposed] = await work.proposed(item_id, [work.prepared])
    if proposed or work.prepared.query.items is not None:
        return None
    scenario = work.prepared.scenario
    own = DEFAULT if scenario.sources is None else {one.source: one.k for one in scenario.sources}
    tried: list[tuple[str, int, Prepared]] = []
    for factor in (2, 4, 8, 16, 32, 64):
        for name, k in own.items():
            larger = min(k * factor, _DEEPEST)
            sources = tuple(_source(other, larger if other == name else count) for other, count in own.items())
            tried.append((name, larger, work.with_scenario(sources=sources)))
    helps = await work.has(item_id, [changed for *_, changed in tried])
    wider = next(((name, k) for (name, k, _), good in zip(tried, helps, strict=True) if good), None)
    change = {"sources": {wider[0]: wider[1]}} if wider is not None else await _deeper(item_id, work)
    return WhyNot(item_id, False, "sources", None, change)


def _source(name: str, k: int) -> Source:
    return Source(source=name, k=k)


async def _outranked(item_id: str, _: Item | None, work: _Trials) -> WhyNot | None:
    """It was a candidate, and others are better: by how much."""
    changed = [_boosted(item_id, work.prepared, weight) for weight in _BOOSTS]
    helps = await work.has(item_id, changed)
    place = next((n for n, good in enumerate(helps) if good), None)
    if place is None:
        return WhyNot(item_id, False, "rank", None, await _deeper(item_id, work))
    low, high = (0.0 if place == 0 else _BOOSTS[place - 1]), _BOOSTS[place]
    steps = [low + (high - low) * n / _NARROWED for n in range(1, _NARROWED)]
    finer = await work.has(item_id, [_boosted(item_id, work.prepared, weight) for weight in steps])
    weight = next((step for step, good in zip(steps, finer, strict=True) if good), high)
    return WhyNot(item_id, False, "rank", None, {"boost": round(weight, 6)})


def _boosted(item_id: str, prepared: Prepared, weight: float) -> Prepared:
    own = Filter(must=(Condition(ITEM_ID, "any", (item_id,)),))
    boost = Rule("why-not", "boost", own, weight=weight)
    return structs.replace(prepared, rules=(*prepared.rules, boost))


async def _deeper(item_id: str, work: _Trials) -> dict[str, Any] | None:
    """From which number of items on it is there."""
    slate = await work.slate(work.with_query(k=_DEEPEST, diversity=0.0))
    place = _rank(item_id, slate.items if slate is not None else ())
    if place is None:
        return None
    [helps] = await work.has(item_id, [work.with_query(k=place)])
    return {"k": place} if helps else {"k": place, "diversity": 0.0}


def _rank(item_id: str, items: Sequence[Recommendation]) -> int | None:
    return next((item.rank for item in items if item.item_id == item_id), None)
