"""When a variant has to stop by itself: it is slow, answers are not whole, or people like it less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.config.experiments import Guardrails
from recsys.state.vitals import Pulse
from recsys.statistics.ratios import Users, difference, pooled
from recsys.statistics.sequential import LEAST_USERS, mixture, worse_by_now

MINUTES = 10
"""That vitals are looked at."""
LEAST_ANSWERS = 500
"""Answers in these minutes below which a variant's vitals say nothing: five are beyond its 99th percentile."""


def unwell(rails: Guardrails, variant: Pulse, control: Pulse) -> str | None:
    """Why the variant must stop, by its vitals; None: it need not."""
    if variant.answers < LEAST_ANSWERS:
        return None
    p99_ms = 1000 * variant.quantile_s(0.99)
    if rails.p99_ms is not None and p99_ms > rails.p99_ms:
        return f"p99: {p99_ms:.0f} ms of {variant.answers} answers, over the {rails.p99_ms:.0f} ms of guardrails.p99_ms"
    more = variant.degraded_share - control.degraded_share
    if rails.degraded is not None and control.answers >= LEAST_ANSWERS and more > rails.degraded:
        return (
            f"degraded: {variant.degraded_share:.1%} of its answers, {control.degraded_share:.1%} of the control's; "
            f"over the {rails.degraded:.0%} more of guardrails.degraded"
        )
    return None


@dataclass(frozen=True, slots=True)
class Arms:
    """Both sides of one step of a ramp."""

    treated: Users
    control: Users


def disliked(effect: float, steps: Sequence[Arms]) -> str | None:
    """Why the variant must stop, by its metric; None: it need not. `effect`: relative, see `Experiment.effect`.

    Each step of a ramp is compared in itself, and the steps are put together by their precision: a day that is better
    for all must not count for the side that has more users by then (Simpson's paradox).
    """
    telling = [arms for arms in steps if _tells(arms)]
    if not telling:
        return None
    control = sum(float(arms.control.numerators.sum()) for arms in telling) / sum(
        float(arms.control.denominators.sum()) for arms in telling
    )
    apart = pooled([difference(arms.treated, arms.control) for arms in telling])
    if not control or not worse_by_now(apart, mixture(effect * control)):
        return None
    users = sum(len(arms.treated) for arms in telling), sum(len(arms.control) for arms in telling)
    return (
        f"worse: {apart.value / control:+.1%} of {users[0]} users, against {control:.4f} of {users[1]} others; by "
        "chance not once in twenty"
    )


def _tells(arms: Arms) -> bool:
    """Whether both sides have users enough, and a ratio."""
    fewest = min(len(arms.treated), len(arms.control))
    return fewest >= LEAST_USERS and bool(arms.treated.denominators.sum() and arms.control.denominators.sum())
