"""Whether a model that was trained anew may take the place of the served one, by what both recommend on one holdout."""

from __future__ import annotations

import time
from typing import Literal

from recsys.evaluation.metrics import Ints, better, per_case
from recsys.evaluation.splits import Holdout
from recsys.model.card import Comparison

METRIC = "ndcg@10"


def compared(
    candidate: Ints,
    served: Ints,
    holdout: Holdout,
    margin: float,
    *,
    version: str,
    basis: Literal["unseen", "untrained"],
    events: int,
    seconds: float,
    data_sha256: str,
    seed: int = 7,
) -> Comparison:
    """Judge (cases, k) lists of both. The mean gap decides; the interval is for whoever reads it."""
    gap = better(candidate, served, holdout, METRIC, seed)
    scores = [float(per_case(lists, holdout)[METRIC].mean()) for lists in (candidate, served)]
    publish = gap["gap"] >= -margin
    reason = (
        f"NDCG@10 {scores[0]:.4f} beside {scores[1]:.4f} of {version} on {holdout.cases} cases: "
        f"{gap['gap']:+.4f}, {'not ' if publish else ''}worse by more than the margin of {margin:g}"
    )
    return Comparison(
        publish=publish,
        reason=reason,
        candidate=scores[0],
        served=scores[1],
        served_version=version,
        basis=basis,
        **gap,
        margin=margin,
        cases=holdout.cases,
        events=events,
        since=float(holdout.now[0]),
        at=time.time(),
        seconds=round(seconds, 1),
        data_sha256=data_sha256,
    )
