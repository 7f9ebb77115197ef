"""The selection of a batch's slates: blend the signals, apply caps, diversify by MMR, keep k, and add new items.

What rules pin and promote is put in its places last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats, item_keys
from recsys.ranking.picking import ordered, with_pin
from recsys.ranking.placement import Placing, only_pin, place
from recsys.ranking.signals import SIGNALS
from recsys.shard.candidates import QUERY, SHUNNED, TASTE, CandidateSet, tag
from recsys.shard.equal_items import any_repeated, repeated
from recsys.shard.row_lists import NEW_LIKES
from recsys.shard.sketches import unit
from recsys.shard.sources import BITS

Ints = npt.NDArray[np.int64]

POOL = 50
"""Best candidates among which MMR chooses; three times k if that is more."""


def blend(signals: Floats, requests: Ints, weights: Sequence[Mapping[str, float]]) -> Floats:
    """Return (n,) float32 scores: the sum of weight times signal, with the weights of each candidate's request."""
    kinds = {id(w): w for w in weights}  # a batch has few
    rows = [_row(tuple(w.items())) for w in kinds.values()]
    if len(rows) == 1:
        return np.einsum("ns,ns->n", signals, rows[0].repeat(len(signals), axis=0))
    table = np.concatenate(rows)
    places = {kind: place for place, kind in enumerate(kinds)}
    return np.einsum("ns,ns->n", signals, table[np.array([places[id(w)] for w in weights])[requests]])


@lru_cache(64)  # scenarios have few
def _row(weights: tuple[tuple[str, float], ...]) -> Floats:
    """Return (1, len(SIGNALS)) float32 in the order of SIGNALS."""
    given = dict(weights)
    return np.array([[given.get(name, 0.0) for name in SIGNALS]], np.float32)


class Controls(msgspec.Struct, frozen=True):
    """Requirements of a slate beside relevance; see `config/scenarios.py`."""

    k: int
    diversity: float = 0.0
    caps: Mapping[str, int] = msgspec.field(default_factory=dict)
    explore: float = 0.0
    shun_above: float = np.inf
    after: tuple[str, ...] = ()
    """Items of the list that the slate goes on with, which are among the candidates. Pins were for its beginning."""


def top(
    candidates: CandidateSet,
    scores: Floats,
    controls: Sequence[Controls],
    grouped: Sequence[str] = (),
    placings: Sequence[Placing] = (),
) -> list[Ints]:
    """Return for each request the (k,) positions of its best candidates, best first. Equal scores are ordered by key.

    `grouped`: the attributes in the columns of `candidates.groups`. `placings`: what rules pin and promote.
    """
    k = [a.k for a in controls]
    shown = _shown(candidates, controls) if any(a.after for a in controls) else None  # hardly ever
    order = ordered(candidates, scores) if _only_equal_items(controls, grouped, shown) else None
    if order is not None and not any(a.diversity > 0 or a.explore > 0 for a in controls):
        plain = _in_order(candidates.offsets, order, k, placings)
        if plain is not None:
            return plain
    requests = candidates.requests
    if order is not None:
        over = np.zeros(len(scores), bool)
    else:
        over = _over_caps(candidates, requests, scores, controls, grouped, shown)
        order = np.lexsort((-scores, over, requests))
    ranked = [order[a:b] for a, b in zip(candidates.offsets[:-1], candidates.offsets[1:], strict=True)]
    if shown is not None:
        ranked = [rows[~shown[rows]] for rows in ranked]
    slates = [rows[:most] for rows, most in zip(ranked, k, strict=True)]
    spread = [b for b, a in enumerate(controls) if a.diversity > 0 and len(ranked[b])]
    if spread:
        pools = [ranked[b][: max(POOL, 3 * k[b])] for b in spread]
        pools = [pool[: max(int((~over[pool]).sum()), k[b])] for b, pool in zip(spread, pools, strict=True)]
        share = np.array([controls[b].diversity for b in spread])
        before = None if shown is None else [_rows(candidates, b)[shown[_rows(candidates, b)]] for b in spread]
        picked = _mmr(candidates, scores, pools, max(k[b] for b in spread), share, before)
        for b, chosen in zip(spread, picked, strict=True):
            slates[b] = chosen[: k[b]]
    for b in [b for b, a in enumerate(controls) if a.explore > 0 and len(ranked[b])]:
        slates[b] = _with_new(slates[b], _new(candidates, ranked[b], over), controls[b].explore)
    if placings:
        going_on = {b for b, a in enumerate(controls) if a.after}
        for placing in placings:
            place(slates, ranked, candidates.offsets, placing, going_on)
    return slates


def _in_order(offsets: Ints, order: Ints, k: Sequence[int], placings: Sequence[Placing]) -> list[Ints] | None:
    """The slates where nothing counts but the order and a pin; None: rules do more, or there is no compiled code."""
    if not placings:
        ends = offsets.tolist()
        return [order[start : min(start + most, end)] for start, end, most in zip(ends, ends[1:], k, strict=False)]
    pin = only_pin(placings)
    return None if pin is None else with_pin(offsets, order, k, pin.rows, pin.position)


def _only_equal_items(
    controls: Sequence[Controls], grouped: Sequence[str], shown: npt.NDArray[np.bool_] | None
) -> bool:
    """Whether `_over_caps` looks at nothing else."""
    return shown is None and not grouped and all(a.shun_above == np.inf for a in controls)


def _rows(candidates: CandidateSet, request: int) -> Ints:
    return np.arange(candidates.offsets[request], candidates.offsets[request + 1])


def _shown(candidates: CandidateSet, controls: Sequence[Controls]) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: the candidates that stand in the list that their slate goes on with."""
    shown = np.zeros(len(candidates.keys), bool)
    for b, one in enumerate(controls):
        if one.after:
            rows = _rows(candidates, b)
            shown[rows] = np.isin(candidates.keys[rows], item_keys(one.after))
    return shown


def _over_caps(
    candidates: CandidateSet,
    requests: Ints,
    scores: Floats,
    controls: Sequence[Controls],
    grouped: Sequence[str],
    shown: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: the candidates above a cap of their request, all but one of equal items, and those near to what
    the user disliked. Those that were `shown` before count first; None: none were.
    """
    if shown is not None and len(scores):
        scores = np.where(shown, scores + np.ptp(scores) + 1, scores).astype(np.float32)
    over = _equal_to_a_better_one(candidates, requests, scores, shown)
    if min((a.shun_above for a in controls), default=np.inf) < np.inf:
        limits = np.array([a.shun_above for a in controls], np.float32)
        over |= candidates.likeness[:, SHUNNED] > limits[requests]
    for column, name in enumerate(grouped):
        caps = np.array([a.caps.get(name, np.iinfo(np.int64).max) for a in controls], np.int64)
        values = candidates.groups[:, column]
        order = np.lexsort((-scores, values, requests))
        fresh = np.ones(len(order), bool)
        fresh[1:] = (np.diff(requests[order]) != 0) | (values[order][1:] != values[order][:-1])
        place = np.arange(len(order)) - np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
        over[order] |= (place >= caps[requests[order]]) & (values[order] != 0)
    return over


def _equal_to_a_better_one(
    candidates: CandidateSet, requests: Ints, scores: Floats, shown: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: the candidates with an equal item of a better score, else newer, else with a smaller key."""
    over = np.zeros(len(scores), bool)
    if not any_repeated(requests, candidates.twins):  # the usual case, found by one sort
        return over
    # Items that the request itself names are all ranked.
    named = (candidates.sources & BITS["asked"]) > 0
    twins = np.where(named if shown is None else named & ~shown, np.uint64(0), candidates.twins)
    several = np.flatnonzero(repeated(requests, twins))
    if len(several):
        group = np.flatnonzero(np.isin(tag(requests, twins), tag(requests[several], twins[several])) & (twins != 0))
        age = -np.nan_to_num(candidates.columns[group, 2], nan=-np.inf)
        group = group[np.lexsort((candidates.keys[group], age, -scores[group], requests[group]))]
        over[group] = repeated(requests[group], twins[group])
    return over


def _new(candidates: CandidateSet, ranked: Ints, over: npt.NDArray[np.bool_]) -> Ints:
    """Return the new items of a request, ordered by similarity to its query, or to the taste without a query.

    They are not ordered by score: a few interactions are mostly chance, and would rank before items with none.
    """
    new = ranked[candidates.columns[ranked, 0] < NEW_LIKES]
    alike = candidates.likeness[new, QUERY]
    alike = np.nan_to_num(np.where(np.isnan(alike), candidates.likeness[new, TASTE], alike))
    return new[np.lexsort((-alike, over[new]))]


def _with_new(slate: Ints, new: Ints, share: float) -> Ints:
    """Return the slate with this share of new items, placed at equal distances. New items in the slate count."""
    count = min(int(share * len(slate) + 0.5), len(new))
    if np.isin(new, slate).sum() >= count:
        return slate
    chosen = new[:count]
    rest = slate[~np.isin(slate, chosen)][: len(slate) - count]
    mixed = np.empty_like(slate)
    places = np.zeros(len(slate), bool)
    places[np.arange(1, count + 1) * len(slate) // count - 1] = True
    mixed[places], mixed[~places] = chosen, rest
    return mixed


def _mmr(
    candidates: CandidateSet,
    scores: Floats,
    pools: list[Ints],
    k: int,
    share: npt.NDArray[np.float64],
    before: list[Ints] | None,
) -> list[Ints]:
    """Return slates by maximal marginal relevance (Carbonell and Goldstein 1998), one step for all requests at a time:

    next = argmax of (1 - share) * relevance - share * (largest cosine to the chosen items), with relevance in 0..1.

    `before`: by pool, what was chosen before; None: nothing.
    """
    width = max(map(len, pools))
    at = np.zeros((len(pools), width), np.int64)
    there = np.zeros((len(pools), width), bool)
    for line, pool in enumerate(pools):
        at[line, : len(pool)], there[line, : len(pool)] = pool, True
    relevance = np.where(there, scores[at], np.nan)
    low, high = np.nanmin(relevance, 1, keepdims=True), np.nanmax(relevance, 1, keepdims=True)
    relevance = (relevance - low) / np.maximum(high - low, 1e-9)
    vectors = unit(candidates.sketches[at])
    nearest = np.zeros_like(relevance)
    chosen = np.zeros((len(pools), min(k, width)), np.int64)
    lines = np.arange(len(pools))
    value = np.where(there, (1 - share[:, None]) * relevance, -np.inf)
    if before is not None:
        for line, rows in enumerate(before):
            if len(rows):
                nearest[line] = np.maximum((vectors[line] @ unit(candidates.sketches[rows]).T).max(axis=1), 0.0)
        value -= share[:, None] * nearest
    for step in range(chosen.shape[1]):
        best = value.argmax(axis=1)
        chosen[:, step] = best
        there[lines, best] = False
        likeness = np.einsum("bpw,bw->bp", vectors, vectors[lines, best])
        nearest = np.maximum(nearest, likeness)
        value = np.where(there, (1 - share[:, None]) * relevance - share[:, None] * nearest, -np.inf)
    return [at[line, chosen[line, : len(pool)]] for line, pool in enumerate(pools)]
