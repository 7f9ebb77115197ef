"""Candidates that are too far from what was asked for are left out, where a scenario says from where on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.ranking.batch_query import Prepared
from recsys.shard.candidates import QUERY, TASTE, CandidateSet


def relevant(candidates: CandidateSet, batch: Sequence[Prepared]) -> CandidateSet:
    """The candidates without those under `min_relevance` of their request's scenario.

    Relevance is the inner product with the text or item that was asked for, else with the user's taste. A request that
    has neither, or that names the items, keeps all.
    """
    least = [-np.inf if p.least_relevance is None else p.least_relevance for p in batch]
    if max(least) == -np.inf:  # nearly always
        return candidates
    alike = candidates.likeness[:, QUERY]
    alike = np.where(np.isnan(alike), candidates.likeness[:, TASTE], alike)
    return candidates.kept(~(alike < np.array(least, np.float32)[candidates.requests]))
