"""Rules of a batch: which hold now, what they ask of the shards, and what they do to the candidates' scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class BatchRules:
    """The rules of B requests that hold at one moment."""

    by_request: Sequence[Sequence[Rule]]
    filters: tuple[Filter, ...] = ()
    """The distinct ones of all these rules, as the shards are asked to match them."""

    @classmethod
    def of(cls, given: Sequence[tuple[Rule, ...]], now: float) -> BatchRules:
        """`given`: the rules of each request, whether they hold at `now`, in Unix seconds, or not."""
        if not any(given):  # nearly always
            return cls(given)
        holding = [[rule for rule in rules if rule.active(now)] for rules in given]
        filters = dict.fromkeys(rule.filter for rules in holding for rule in rules if rule.filter is not None)
        return cls(holding, tuple(filters))

    def wants(self, k: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """`ShardQuery.rule_wants`. `k`: items that each request asks for; 0: it names the items itself."""
        places = {given: place for place, given in enumerate(self.filters)}
        wanted: dict[tuple[int, int], int] = {}
        for b, rules in enumerate(self.by_request):
            for rule in rules if k[b] else ():
                most = PINNED if rule.kind == "pin" else math.ceil(rule.share * k[b]) if rule.kind == "promote" else 0
                most = max(most, rule.proposes)
                if most and rule.filter is not None:
                    pair = b, places[rule.filter]
                    wanted[pair] = max(wanted.get(pair, 0), most)
        return tuple((b, place, most) for (b, place), most in wanted.items())

    def effects(self, candidates: CandidateSet, now: float) -> list[Effect]:
        """What each rule does to the candidates of the requests that have it."""
        members: dict[Rule, list[int]] = {}
        for b, rules in enumerate(self.by_request):
            for rule in rules:
                members.setdefault(rule, []).append(b)
        if not members:
            return []
        told = np.unpackbits(candidates.matches, axis=1, count=len(self.filters), bitorder="little").astype(bool)
        columns = {given: told[:, place] for place, given in enumerate(self.filters)}
        offsets = candidates.offsets
        effects = []
        for rule, requests in members.items():
            rows = np.concatenate([np.arange(offsets[b], offsets[b + 1]) for b in requests])
            if rule.filter is not None:
                rows = rows[columns[rule.filter][rows]]
            signal = _signal(rule, candidates.columns[rows, 2], now)
            effects.append(Effect(f"rule:{rule.name}", rule.weight, rows, signal, rule))
        return effects


@dataclass(frozen=True, slots=True)
class Effect:
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


def placements(rules: BatchRules, effects: Sequence[Effect], offsets: Ints) -> list[tuple[Placement, ...]]:
    """For each request what its rules pin and promote, in their order. `offsets`: see `CandidateSet`."""
    matches = {effect.rule: effect.rows for effect in effects if effect.rule is not None}
    placings = []
    for own, start, end in zip(rules.by_request, offsets[:-1], offsets[1:], strict=True):
        placing = []
        for rule in own:
            if rule.kind in ("pin", "promote"):
                first, last = np.searchsorted(matches[rule], (start, end))
                placing.append(Placement(matches[rule][first:last], rule.position, rule.share))
        placings.append(tuple(placing))
    return placings
