"""How many replicas a load needs: the maths of autoscaling, without Ray.

The formula is Kubernetes' (Horizontal Pod Autoscaler, "Algorithm details"): replicas x measured / wanted, with its
tolerance of 0.1 in which nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

_TOLERANCE = 0.1
"""Relative; the default of `--horizontal-pod-autoscaler-tolerance`."""
_STEEPEST = 4.0
"""Replicas grow by at most this factor at a time: one look at a queue does not tell how many more are needed."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one replica since the last reading."""

    busy: float
    """Share of the time for which it worked, 0 to 1."""
    queue_age_s: float
    """Seconds for which the oldest waiting request has waited."""
    batch_fill: float
    """Mean size of its batches over the largest allowed, 0 to 1."""

    def as_stats(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Targets:
    """The load that a replica is meant to have."""

    busy: float = 0.6
    """Share of the time; the rest is for bursts, and for a neighbour that dies."""
    queue_age_s: float = 0.2
    """Seconds that a request may wait."""
    batch_fill: float = 0.9
    """Full batches mean that the next ones wait: past this share more replicas are wanted."""


def pressure(loads: Sequence[Load], targets: Targets) -> float:
    """Measured load over wanted load; 1.0 is as it should be. The mean over the replicas: a request goes to the least
    busy one.

    A queue counts only for a replica that works for at least half of what it may. Requests that wait before an idle
    replica wait for a part behind it, and more replicas of this kind would only press that part harder.
    """
    each = []
    for load in loads:
        by_work = load.busy / targets.busy
        waiting = max(load.queue_age_s / targets.queue_age_s, load.batch_fill / targets.batch_fill)
        # Waiting only says that there are too few: a short queue is no reason to have fewer.
        each.append(max(by_work, waiting) if by_work >= 0.5 and waiting > 1.0 else by_work)
    return min(sum(each) / len(each), _STEEPEST)


def wanted_replicas(loads: Sequence[Load], replicas: int, targets: Targets) -> float:
    """How many replicas the load of these `replicas` needs; the caller rounds it up and keeps it within bounds.

    Upwards as far as the load says, downwards by one at a time. `replicas` itself when no load was measured.
    """
    if not loads or not replicas:
        return replicas
    pressed = pressure(loads, targets)
    if abs(pressed - 1.0) <= _TOLERANCE:
        return replicas
    return max(replicas * pressed, replicas - 1)
