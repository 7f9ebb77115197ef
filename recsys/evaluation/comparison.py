"""Whether a model that was trained anew may take the place of the served one, by what both recommend on one holdout."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

from recsys.data.interactions import Interactions
from recsys.evaluation.metrics import Ints, better, per_case
from recsys.evaluation.splits import Holdout
from recsys.model.card import Comparison

METRIC = "ndcg@10"


@dataclass(frozen=True, slots=True)
class Exam:
    """What a candidate and the served version are compared by."""

    holdout: Holdout
    """The newest events, which neither version has learned from."""
    data: Interactions
    """All events at hand, held out or not."""
    served_version: str
    basis: Literal["unseen", "untrained"]
    """See `Comparison.basis`."""
    margin: float
    """By how much the candidate's NDCG@10 may be under that of the served version."""

    def sample(self, cases: int, seed: int) -> Exam:
        """At most this many of the cases, drawn at random."""
        return replace(self, holdout=self.holdout.sample(cases, seed))

    def compare(self, candidate: Ints, served: Ints, seconds: float, seed: int = 7) -> Comparison:
        """Judge (cases, k) lists of both. The mean gap decides; the interval is for whoever reads it.

        `seconds`: what it took so far, the candidate's training included. `seed`: of the bootstrap.
        """
        gap = better(candidate, served, self.holdout, METRIC, seed)
        scores = [float(per_case(lists, self.holdout)[METRIC].mean()) for lists in (candidate, served)]
        publish = gap["gap"] >= -self.margin
        reason = (
            f"NDCG@10 {scores[0]:.4f} beside {scores[1]:.4f} of {self.served_version} on {self.holdout.cases} cases: "
            f"{gap['gap']:+.4f}, {'not ' if publish else ''}worse by more than the margin of {self.margin:g}"
        )
        return Comparison(
            publish=publish,
            reason=reason,
            candidate=scores[0],
            served=scores[1],
            served_version=self.served_version,
            basis=self.basis,
            **gap,
            margin=self.margin,
            cases=self.holdout.cases,
            events=len(self.data) - len(self.holdout.train),
            since=float(self.holdout.now[0]),
            at=time.time(),
            seconds=round(seconds, 1),
            data_sha256=self.data.sha256(),
        )
