"""Whether a model that was trained anew may take the place of the served one, by what both recommend on one holdout."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict

from recsys.holdout import Holdout
from recsys.metrics import Ints, better, per_case

METRIC = "ndcg@10"


class Comparison(BaseModel):
    """Two versions on the newest events, which neither has learned from. Kept in the model card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    publish: bool
    """Whether the candidate may be served: its score is at most `margin` under that of the served version."""
    reason: str
    candidate: float
    """NDCG@10, mean over the cases; see `metrics.py`."""
    served: float
    """The same of the version that was served then."""
    served_version: str
    basis: Literal["unseen", "untrained"]
    """Why it is fair: the served version was trained before all held-out events, or learned nothing at all."""
    gap: float
    """Candidate minus served."""
    low: float
    """Of the 95 % interval of the gap: bootstrap over the cases, which are the same for both."""
    high: float
    margin: float
    cases: int
    """Users known before the moment who did something after it."""
    events: int
    """Held out: all after the moment, those of new users too."""
    since: float
    """The moment, in Unix seconds: what came after it is held out."""
    at: float
    """Unix seconds, when it was made."""
    seconds: float
    """What it took, the candidate's training included."""
    data_sha256: str
    """Of all events at hand, held out or not."""


def compared(
    candidate: Ints,
    served: Ints,
    held: Holdout,
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
    gap = better(candidate, served, held, METRIC, seed)
    scores = [float(per_case(lists, held)[METRIC].mean()) for lists in (candidate, served)]
    publish = gap["gap"] >= -margin
    reason = (
        f"NDCG@10 {scores[0]:.4f} beside {scores[1]:.4f} of {version} on {held.cases} cases: "
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
        cases=held.cases,
        events=events,
        since=float(held.now[0]),
        at=time.time(),
        seconds=round(seconds, 1),
        data_sha256=data_sha256,
    )
