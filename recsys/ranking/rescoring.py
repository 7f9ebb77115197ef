"""The best candidates of a batch as trees see them, and their scores, where nobody looks at the single signals, by
compiled code where it is there.

`blends.c` fills the table that `tree_ranker.features` fills for all candidates, for those alone that are rescored.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.ranking.blending import Blends, Measured
from recsys.ranking.kept_sums import RESCORED
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import Ranker

Ints = npt.NDArray[np.int64]

_OF_CANDIDATES = (*SIGNALS, "blend", "blend_gap", "rank", "sources")
"""What the table has of each candidate, and behind them what it has of each request, in the order of `blends.c`."""
_OF_REQUESTS = ("history", "session")


def facts(counts: Floats, known: Floats) -> Floats:
    """(B, 2 + k) float32: what a table has of B requests. `counts`: (B, 2) float32, the histories and the sessions of
    `tree_ranker.features`. `known`: (B, k) float32 of `Ranker.known`.
    """
    logs = np.log1p(counts)
    return np.concatenate([logs, known], axis=1) if known.shape[1] else logs


def rescored(
    measured: Measured,
    scores: Floats,
    ranker: Ranker,
    enabled: npt.NDArray[np.bool_],
    facts: Floats,
    blends: Blends,
    who: Sequence[Hashable],
) -> Floats:
    """What `Ranker.rescored` returns. `measured`: what `scores` were blended from, by compiled code. `who` asks: the
    sums of each are kept for the next time.
    """
    wanted = _wanted(ranker.names, ranker.known)
    rows = np.empty(min(len(scores), RESCORED * len(enabled)), np.int64)
    at, table = np.empty_like(rows), np.empty((len(rows), len(wanted)), np.float32)
    filled = blends.best(
        measured.candidates.offsets, measured.values, len(SIGNALS), scores, measured.candidates.sources, enabled, facts,
        _logs(), wanted, ranker.kept.places_of(who), rows, at, table,
    )  # fmt: skip
    corrected = scores.copy()
    ranker.trees.correct(table[:filled], ranker.kept.room, at[:filled], corrected, rows[:filled])
    return corrected


@lru_cache(8)  # versions that are served
def _wanted(names: tuple[str, ...], known: Sequence[str]) -> Ints:
    every = (*_OF_CANDIDATES, *_OF_REQUESTS, *known)
    return np.array([every.index(name) for name in names], np.int64)


@lru_cache(1)
def _logs() -> Floats:
    """(RESCORED,) float32: the rank of the best candidates, as trees see it."""
    return np.log1p(np.arange(RESCORED)).astype(np.float32)
