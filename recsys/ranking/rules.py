"""Rules of a batch: which hold now, what they ask of the shards, and what they do to the candidates' scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.datatypes import Filter, Floats, Rule
from recsys.ranking.picking import matched
from recsys.ranking.placement import Placement, Placing
from recsys.shard.candidates import CandidateSet

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PINNED = 20
"""Candidates that a shard gives for a pin: the best of them by score is the one that is pinned."""


def merged(own: tuple[Rule, ...], given: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """A scenario's own rules, and those of a request. One of the request replaces the scenario's of the same name."""
    if not given:
        return own
    names = {rule.name for rule in given}
    return (*(rule for rule in own if rule.name not in names), *given)


class BatchRules(msgspec.Struct, frozen=True):
    """The rules of B requests that hold at one moment."""

    by_request: Sequence[Sequence[Rule]]
    filters: tuple[Filter, ...] = ()
    """The distinct ones of all these rules, as the shards are asked to match them."""
    sets: Sequence[tuple[Sequence[Rule], Sequence[int]]] = ()
    """Distinct sets of rules with their requests. Requests of a scenario share one, and rules are long to hash."""

    @classmethod
    def of(cls, given: Sequence[tuple[Rule, ...]], now: float) -> BatchRules:
        """`given`: the rules of each request, whether they hold at `now`, in Unix seconds, or not."""
        if not any(given):  # nearly always
            return cls(given)
        places: dict[int, list[int]] = {}
        for b, rules in enumerate(given):
            places.setdefault(id(rules), []).append(b)
        sets = [([rule for rule in given[own[0]] if rule.active(now)], own) for own in places.values()]
        filters = dict.fromkeys(rule.filter for rules, _ in sets for rule in rules if rule.filter is not None)
        by_request: list[Sequence[Rule]] = [()] * len(given)
        for holding, own in sets:
            for b in own:
                by_request[b] = holding
        return cls(by_request, tuple(filters), sets)

    def wants(self, k: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """`ShardQuery.rule_wants`. `k`: items that each request asks for; 0: it names the items itself."""
        places = {given: place for place, given in enumerate(self.filters)}
        wanted: list[Sequence[tuple[int, int]]] = [()] * len(k)
        for rules, requests in self.sets:
            known: dict[int, Sequence[tuple[int, int]]] = {0: ()}
            placed = [(rule, places[rule.filter]) for rule in rules if rule.filter is not None]
            for b in requests:
                if k[b] not in known:
                    known[k[b]] = list(_most(placed, k[b]).items())
                wanted[b] = known[k[b]]
        return tuple([(b, place, most) for b, own in enumerate(wanted) for place, most in own])

    def effects(self, candidates: CandidateSet, now: float) -> list[Effect]:
        """What each rule does to the candidates of the requests that have it."""
        if not self.sets:
            return []
        effects = []
        found = dict(zip(self.filters, matched(candidates.matches, len(self.filters)), strict=True))
        whole = np.ones(len(candidates.keys), np.float32)
        for rule, requests in self._members():
            rows = np.arange(len(whole)) if rule.filter is None else found[rule.filter]
            if len(requests) < len(self.by_request):
                having = np.zeros(len(self.by_request), bool)
                having[requests] = True
                rows = rows[having[candidates.requests[rows]]]
            fresh = rule.kind == "fresh"
            signal = _fresh(rule, candidates.columns[rows, 2], now) if fresh else whole[: len(rows)]
            effects.append(Effect(f"rule:{rule.name}", rule.weight, rows, signal, rule))
        return effects

    def _members(self) -> list[tuple[Rule, Sequence[int]]]:
        """Distinct rules, each with the requests that have it."""
        if len(self.sets) == 1:  # nearly always
            [(rules, requests)] = self.sets
            return [(rule, requests) for rule in rules]
        members: dict[Rule, list[int]] = {}
        for rules, requests in self.sets:
            for rule in rules:
                members.setdefault(rule, []).extend(requests)
        return list(members.items())

    def placings(self, effects: Sequence[Effect]) -> list[Placing]:
        """What the rules pin and promote."""
        placing = [effect for effect in effects if effect.rule is not None and effect.rule.kind in ("pin", "promote")]
        if not placing:
            return []
        matches = {effect.rule: effect.rows for effect in placing}
        return [
            Placing(requests, [Placement(matches[rule], rule.position, rule.share) for rule in own])
            for rules, requests in self.sets
            if (own := [rule for rule in rules if rule.kind in ("pin", "promote")])
        ]


def _most(placed: Sequence[tuple[Rule, int]], k: int) -> dict[int, int]:
    """The candidates that rules need of a shard for a request of `k` items, by place of the rule's filter."""
    wanted: dict[int, int] = {}
    for rule, place in placed:
        most = PINNED if rule.kind == "pin" else math.ceil(rule.share * k) if rule.kind == "promote" else 0
        if most := max(most, rule.proposes):
            wanted[place] = max(wanted.get(place, 0), most)
    return wanted


class Effect(msgspec.Struct, frozen=True):
    """What is added to the scores of some candidates, beside the signals that all have."""

    name: str
    """As a signal in an explanation."""
    weight: float
    rows: Ints
    """(n,) places among the candidates of the batch, in ascending order."""
    signal: Floats
    """(n,) float32 from 0 to 1."""
    rule: Rule | None = None
    """None: it does not come of a rule."""

    def of(self, row: int) -> float | None:
        """The signal of one candidate; None: it has none."""
        place = int(np.searchsorted(self.rows, row))
        return float(self.signal[place]) if place < len(self.rows) and self.rows[place] == row else None


def with_effects(scores: Floats, effects: Sequence[Effect]) -> Floats:
    """(n,) scores with what the effects add to them."""
    if not effects:
        return scores
    ruled = scores.copy()
    for effect in effects:
        if len(effect.rows):
            ruled[effect.rows] += np.float32(effect.weight) * effect.signal
    return ruled


def _fresh(rule: Rule, created: npt.NDArray[np.float64], now: float) -> Floats:
    """(n,) float32 of n matches with these times of creation; NaN: not known."""
    ages = np.maximum(now - created, 0.0)
    return np.nan_to_num(np.exp2(-ages / rule.half_life_s)).astype(np.float32)
