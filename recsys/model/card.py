"""The card of a model: how it was trained and how good it is."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Comparison(BaseModel):
    """The comparison of two versions on the newest events, which neither has learned from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    publish: bool
    """Whether the candidate may be served: its NDCG@10 is at most `margin` lower than the served version's."""
    reason: str
    candidate: float
    """Mean NDCG@10 over the cases; see `evaluation/metrics.py`."""
    served: float
    """Mean NDCG@10 of the version that was served."""
    served_version: str
    basis: Literal["unseen", "untrained"]
    """Why it is fair: the served version was trained before all held-out events, or not trained at all."""
    gap: float
    """Candidate minus served."""
    low: float
    """Lower end of the gap's 95 % interval, by bootstrap over the cases, which are the same for both."""
    high: float
    margin: float
    cases: int
    """Users with events both before and after the moment."""
    events: int
    """Held-out events: all after the moment, also those of new users."""
    since: float
    """The moment, in Unix seconds, after which events are held out."""
    at: float
    """Unix seconds of the comparison."""
    seconds: float
    """Duration, with the candidate's training."""
    data_sha256: str
    """Checksum of all events, held out or not."""


class Negatives(BaseModel):
    """Whether the model learned from dislikes as negatives, as the attention network's lists on validation decided.

    Two networks are compared on the same cases: one that learned from likes and dislikes, and one from likes alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    used: bool
    reason: str
    gap: float
    """NDCG@10 with dislikes minus that without."""
    gap_error: float
    """Standard error of the gap, over users."""
    shown: float
    """Dislikes among the first ten of a list with dislikes minus those without, of what users disliked after what was
    learned from."""
    shown_error: float


class ModelCard(BaseModel):
    """How a model was trained, and how good it was on held-out interactions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_sha256: str
    """Checksum of the training interactions."""
    users: int
    items: int
    events: int
    until: float | None = None
    """Unix seconds of the newest training interaction. None: not recorded."""
    seed: int
    seconds: float
    """Duration of the training."""
    parameters: dict[str, float]
    """Hyperparameters chosen on validation."""
    validation: dict[str, float]
    """NDCG@10 over the validation cases: of the operator, of the served blend, and of the tree ranker."""
    comparison: Comparison | None = None
    """Comparison with the version served before. None: there was none."""
    negatives: Negatives | None = None
    """Whether dislikes were learned from. None: there were none."""
