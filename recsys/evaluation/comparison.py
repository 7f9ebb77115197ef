"""The comparison of a retrained model with the served version on one holdout, which decides whether it is served."""

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
    """The cases and the rule by which a candidate is compared with the served version."""

    holdout: Holdout
    """The newest events, which neither version has learned from."""
    data: Interactions
    """All events, held out or not."""
    served_version: str
    basis: Literal["unseen", "untrained"]
    """See `Comparison.basis`."""
    margin: float
    """The candidate's NDCG@10 may be lower than the served version's by this much."""

    def sample(self, cases: int, seed: int) -> Exam:
        """Return the exam on a random sample of at most this many cases."""
        return replace(self, holdout=self.holdout.sample(cases, seed))

    def compare(self, candidate: Ints, served: Ints, seconds: float, seed: int = 7) -> Comparison:
        """Return the comparison of both versions' (cases, k) lists. The mean gap decides; its interval is information.

        `seconds`: the time so far, with the candidate's training. `seed`: seed of the bootstrap.
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
