"""What an experiment is: docs/experiments.md says how one is run and read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recsys.config.base import Name, Settings

Metric = Literal["click_through", "answer_click_through", "conversion", "value_per_answer"]
"""Sums over a user's answers, one divided by the other; docs/outcomes.md has their counts."""


class Guardrails(Settings):
    """When a variant is stopped by itself: its users are answered as the control's from then on."""

    p99_ms: float | None = Field(None, gt=0)
    """Milliseconds that the 99th percentile of its answers may take, over the last ten minutes; None: any. Answers
    travel in batches, so a slow variant slows the others of its batch as well."""
    degraded: float | None = Field(0.05, ge=0, le=1)
    """How much larger its share of degraded answers may be than the control's, over the same minutes; None: any."""
    worse: bool = True
    """Whether it is stopped when its metric is worse than the control's, by a test that is wrong once in twenty
    experiments however often it looks."""


class Variant(Settings):
    """One way to answer; the first of an experiment is the control."""

    weight: float = Field(1.0, gt=0, le=1000)
    """Users that it has, against those of the other variants. To change it moves users between variants."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What differs from the scenario's settings, as a JSON Merge Patch (RFC 7396); empty: nothing."""
    stopped: str | None = Field(None, max_length=1000)
    """Why it was stopped; None: it runs."""


class Experiment(Settings):
    """Variants of one scenario, each for a part of the users. Requests without a user are not in it."""

    name: Name
    kind: Literal["split", "interleaving"] = "split"
    """`split`: each user has one variant. `interleaving`: each user's slates are made of two variants in turns, which
    says which one is preferred with far fewer users, and ranks twice."""
    variants: Annotated[dict[Name, Variant], Field(min_length=2, max_length=8)]
    """In order; the first is the control."""
    share: float = Field(1.0, gt=0, le=1)
    """Of the users. A larger one takes users in, and moves none to another variant."""
    layer: Name | None = None
    """Experiments of one layer have no user in common; None: a layer of its own."""
    begins: float = Field(0.0, ge=0, lt=1)
    """Where its part of the layer begins; it must not reach into another experiment's."""
    metric: Metric = "click_through"
    """What decides."""
    effect: float = Field(0.05, gt=0, le=10)
    """The relative difference that is worth finding: what power is calculated for, and where tests find soonest."""
    guardrails: Guardrails = Guardrails()

    @property
    def control(self) -> str:
        return next(iter(self.variants))

    @property
    def running(self) -> dict[str, Variant]:
        """Variants that were not stopped."""
        return {name: variant for name, variant in self.variants.items() if variant.stopped is None}

    @model_validator(mode="after")
    def _is_possible(self) -> Experiment:
        if self.begins + self.share > 1 + 1e-9:
            raise ValueError(f"share: {self.begins} + {self.share} is beyond the end of the layer, 1")
        if self.kind == "interleaving" and len(self.variants) != 2:
            raise ValueError("variants: an interleaving has two")
        return self
