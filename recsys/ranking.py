"""Ordering the candidates of a batch: blend the signals, spread the top by MMR, keep k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.candidates import CandidateSet
from recsys.config import SignalName
from recsys.datatypes import Floats
from recsys.signals import SIGNALS
from recsys.sketches import unit

Ints = npt.NDArray[np.int64]

_POOL = 50
"""Best-scored candidates that diversity chooses among; three times k where that is more."""


def blend(signals: Floats, requests: Ints, weights: Sequence[Mapping[SignalName, float]]) -> Floats:
    """(n,) scores: weight times signal, summed, with each request's own weights."""
    table = np.array([[w.get(name, 0.0) for name in SIGNALS] for w in weights], np.float32)
    return np.einsum("ns,ns->n", signals, table[requests])


def top(candidates: CandidateSet, scores: Floats, k: Sequence[int], diversity: Sequence[float]) -> list[Ints]:
    """For each request the positions of its k best candidates, best first; equal scores go by key."""
    order = np.lexsort((-scores, candidates.requests))
    slates = []
    sizes = np.diff(candidates.offsets)
    spread = [b for b, share in enumerate(diversity) if share > 0 and sizes[b]]
    for b, (start, end) in enumerate(zip(candidates.offsets[:-1], candidates.offsets[1:], strict=True)):
        slates.append(order[start:end][: k[b]])
    if spread:
        pools = [order[candidates.offsets[b] : candidates.offsets[b + 1]][: max(_POOL, 3 * k[b])] for b in spread]
        picked = _mmr(candidates, scores, pools, max(k[b] for b in spread), np.array([diversity[b] for b in spread]))
        for b, chosen in zip(spread, picked, strict=True):
            slates[b] = chosen[: k[b]]
    return slates


def _mmr(
    candidates: CandidateSet, scores: Floats, pools: list[Ints], k: int, share: npt.NDArray[np.float64]
) -> list[Ints]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998), all requests in step:

    next = argmax of (1 - share) * relevance - share * (largest cosine to what is chosen), relevance scaled to 0..1.
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
    for step in range(chosen.shape[1]):
        best = value.argmax(axis=1)
        chosen[:, step] = best
        there[lines, best] = False
        likeness = np.einsum("bpw,bw->bp", vectors, vectors[lines, best])
        nearest = np.maximum(nearest, likeness)
        value = np.where(there, (1 - share[:, None]) * relevance - share[:, None] * nearest, -np.inf)
    return [at[line, chosen[line, : len(pool)]] for line, pool in enumerate(pools)]
