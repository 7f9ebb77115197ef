"""How a version goes out to a part of the users first, and when it comes back by itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from recsys.config.base import Settings
from recsys.config.experiments import Guardrails, Metric

Share = Annotated[float, Field(gt=0, lt=1)]


class Canary(Settings):
    """Both versions are held in the shards meanwhile, which takes the memory of both."""

    steps: tuple[Share, ...] = Field((0.05, 0.25, 0.5), min_length=1, max_length=10)
    """Shares of the users on the new version, one after another; after the last one all are. `recsys promote --canary`
    may give others."""
    step_s: float = Field(3600.0, ge=1)
    """Seconds that a step lasts, at the least."""
    least_answers: int = Field(500, ge=1)
    """Answers of the new version that a step waits for."""
    metric: Metric = "click_through"
    """What is compared with the version before."""
    effect: float = Field(0.05, gt=0, le=10)
    """The relative difference of it that is to be found soonest."""
    guardrails: Guardrails = Guardrails()
    """What takes the new version back: see there. So does a shard that cannot hold its recall floor."""

    @field_validator("steps")
    @classmethod
    def _rise(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError("must rise from one to the next")
        return steps
