"""Rules of a batch: which hold now, what they ask of the shards, and what they do to the candidates' scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.datatypes import Filter, Floats, Rule
from recsys.ranking.placement import Placement
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

    @classmethod
    def of(cls, given: Sequence[tuple[Rule, ...]], now: float) -> BatchRules:
        """`given`: the rules of each request, whether they hold at `now`, in Unix seconds, or not."""
        if not any(given):  # nearly always
            return cls(given)
        holding = {id(rules): [rule for rule in rules if rule.active(now)] for rules in given}
        filters = dict.fromkeys(rule.filter for rules in holding.values() for rule in rules if rule.filter is not None)
        return cls([holding[id(rules)] for rules in given], tuple(filters))

    @property
    def _sets(self) -> list[tuple[Sequence[Rule], list[int]]]:
        """Distinct sets of rules with their requests. Requests of a scenario share one, and rules are long to hash."""
        sets: dict[int, tuple[Sequence[Rule], list[int]]] = {}
        for b, rules in enumerate(self.by_request):
            sets.setdefault(id(rules), (rules, []))[1].append(b)
        return list(sets.values())

    def wants(self, k: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """`ShardQuery.rule_wants`. `k`: items that each request asks for; 0: it names the items itself."""
        places = {given: place for place, given in enumerate(self.filters)}
        wanted: list[tuple[int, int, int]] = []
        for rules, requests in self._sets:
            known: dict[int, dict[int, int]] = {0: {}}
            placed = [(rule, places[rule.filter]) for rule in rules if rule.filter is not None]
            for b in requests:
                if k[b] not in known:
                    known[k[b]] = _most(placed, k[b])
                wanted += [(b, place, most) for place, most in known[k[b]].items()]
        return tuple(sorted(wanted, key=lambda want: want[0]))

    def effects(self, candidates: CandidateSet, now: float) -> list[Effect]:
        """What each rule does to the candidates of the requests that have it."""
        members: dict[Rule, list[int]] = {}
        for rules, requests in self._sets:
            for rule in rules:
                members.setdefault(rule, []).extend(requests)
        if not members:
            return []
        told = np.unpackbits(candidates.matches, axis=1, count=len(self.filters), bitorder="little").astype(bool)
        columns = {given: told[:, place] for place, given in enumerate(self.filters)}
        effects = []
        for rule, requests in members.items():
            having = np.zeros(len(self.by_request), bool)
            having[requests] = True
            own = having[candidates.requests]
            rows = np.flatnonzero(own if rule.filter is None else own & columns[rule.filter])
            signal = _signal(rule, candidates.columns[rows, 2], now)
            effects.append(Effect(f"rule:{rule.name}", rule.weight, rows, signal, rule))
        return effects

    def placements(self, effects: Sequence[Effect], offsets: Ints) -> list[tuple[Placement, ...]]:
        """For each request what its rules pin and promote, in their order. `offsets`: see `CandidateSet`."""
        matches = {effect.rule: effect.rows for effect in effects if effect.rule is not None}
        placings: list[tuple[Placement, ...]] = [()] * len(self.by_request)
        for rules, requests in self._sets:
            placing = [(rule, matches[rule]) for rule in rules if rule.kind in ("pin", "promote")]
            bounds = [rows.searchsorted(offsets).tolist() for _, rows in placing]
            for b in requests if placing else ():
                placings[b] = tuple(
                    Placement(rows[own[b] : own[b + 1]], rule.position, rule.share)
                    for (rule, rows), own in zip(placing, bounds, strict=True)
                )
        return placings


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
        ruled[effect.rows] += np.float32(effect.weight) * effect.signal
    return ruled


def _signal(rule: Rule, created: npt.NDArray[np.float64], now: float) -> Floats:
    """(n,) float32 of n matches with these times of creation; NaN: not known."""
    if rule.kind != "fresh":
        return np.ones(len(created), np.float32)
    ages = np.maximum(now - created, 0.0)
    return np.nan_to_num(np.exp2(-ages / rule.half_life_s)).astype(np.float32)
