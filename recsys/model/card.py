"""The card of a model: how it came about, and how good it is."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Comparison(BaseModel):
    """Two versions on the newest events, which neither has learned from. Kept in the model card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    publish: bool
    """Whether the candidate may be served: its score is at most `margin` under that of the served version."""
    reason: str
    candidate: float
    """NDCG@10, mean over the cases; see `evaluation/metrics.py`."""
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


class ModelCard(BaseModel):
    """How a model came about, and how good it was on the interactions that were kept from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_sha256: str
    """Of the interactions that it was trained on."""
    users: int
    items: int
    events: int
    until: float | None = None
    """Unix seconds of the newest of them; None: trained before this was noted."""
    seed: int
    seconds: float
    """What training took."""
    parameters: dict[str, float]
    """Chosen on validation."""
    validation: dict[str, float]
    """NDCG@10 over the validation cases: of the operator, of the served blend, of the ranker."""
    comparison: Comparison | None = None
    """With the version served before it; None: it was published without one."""
