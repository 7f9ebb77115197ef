"""What an experiment says so far: each variant against the control, and what is to be believed of it.

No number is given where it would mislead: with a sample ratio that does not fit, no difference is told, because what
moved users between variants moved the metric as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.config.experiments import Experiment
from recsys.experiments.metrics import summed, users_of
from recsys.outcomes.by_user import PERIODS, UserRows
from recsys.statistics.a_a import false_positives
from recsys.statistics.cuped import Adjusted, adjusted
from recsys.statistics.interleaving import differences, preference
from recsys.statistics.intervals import Estimate
from recsys.statistics.power import users_needed_pairwise, users_needed_sequential
from recsys.statistics.ratios import Users, difference, ratio
from recsys.statistics.sample_ratio import ALARM, mismatch
from recsys.statistics.sequential import LEAST_USERS, always_valid, mixture, p_value

Verdict = Literal["mismatch", "too_few_users", "better", "worse", "undecided"]

_SPLITS = 200
"""Halvings of the control for the A/A check."""
_PREFERENCE = 0.02
"""A share of the clicks that is this far from one half is worth finding by interleaving."""


@dataclass(frozen=True, slots=True)
class Look:
    """The difference as it was known at one time."""

    until: float
    """Unix seconds."""
    difference: Estimate
    """With its interval for one look."""
    always: Estimate
    """With the interval that holds at all looks."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One variant against the control, or B against A."""

    variant: str
    verdict: Verdict
    difference: Estimate | None
    """Of the metric, with an interval for one look at a time chosen before; None where none is told."""
    always: Estimate | None
    """The same with an interval that may be looked at any time: the verdict goes by it."""
    p_value: float | None
    """Always-valid: the smallest of all looks."""
    lift: float | None
    """The difference by the control's metric; None: that is 0, or the variants were interleaved."""
    adjusted: Adjusted | None
    """By CUPED; None: there are no users who were there before."""
    users_needed: int | None
    """Of both together, to find `effect` with a chance of 80 %; None: the control's metric is 0."""
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One variant by itself."""

    variant: str
    users: int
    answers: int
    metric: Estimate | None
    """None: nobody has come."""


@dataclass(frozen=True, slots=True)
class Findings:
    sides: tuple[Side, ...]
    compared: tuple[Compared, ...]
    sample_ratio_p: float
    """How likely the numbers of users are by chance; under 0.001 something moves users between variants."""
    a_a: float | None
    """Share of random halvings of the control that seem to differ at 5 %; None: too few users."""


def judged(
    experiment: Experiment, rows: UserRows, span: tuple[float, float], before: Mapping[int, float] | None = None
) -> Findings:
    """Judge a split. `rows`: its variants in the experiment's order. `span`: Unix seconds at which the rows begin and
    end. `before`: see `users_of`.
    """
    names, metric = list(experiment.variants), experiment.metric
    arms = [users_of(rows, metric, place, before) for place in range(len(names))]
    odds = mismatch([len(arm) for arm in arms], [v.weight for v in experiment.variants.values()])
    sides = tuple(_side(rows, name, place, arm) for place, (name, arm) in enumerate(zip(names, arms, strict=True)))
    compared = []
    for place in range(1, len(names)):
        looks = [
            (_end(span, until), users_of(rows, metric, place, None, until), users_of(rows, metric, 0, None, until))
            for until in range(PERIODS)
        ]
        compared.append(_compared(names[place], experiment.effect, arms[place], arms[0], looks, fits=odds >= ALARM))
    return Findings(sides, tuple(compared), odds, false_positives(arms[0], _SPLITS, 7))


def _end(span: tuple[float, float], period: int) -> float:
    return span[0] + (span[1] - span[0]) * (period + 1) / PERIODS


def _side(rows: UserRows, name: str, place: int, users: Users) -> Side:
    answers = int(summed(rows, "answers", place).sum())
    return Side(name, len(users), answers, ratio(users) if _tells(users) else None)


def _tells(users: Users) -> bool:
    """Whether there is a ratio with an error."""
    return len(users) > 1 and bool(users.denominators.sum())


def _compared(
    name: str,
    effect: float,
    treated: Users,
    control: Users,
    looks: Sequence[tuple[float, Users, Users]],
    *,
    fits: bool,
) -> Compared:
    if not fits:
        return Compared(name, "mismatch", None, None, None, None, None, None, ())
    if min(len(treated), len(control)) < LEAST_USERS or not (_tells(treated) and _tells(control)):
        return Compared(name, "too_few_users", None, None, None, None, None, _needed(treated, control, effect), ())
    tau = mixture(effect * (control.ratio or 1.0))
    results = []
    for until, one, other in looks:
        if min(len(one), len(other)) >= LEAST_USERS and _tells(one) and _tells(other):
            apart = difference(one, other)
            results.append(Look(until, apart, always_valid(apart, tau)))
    apart = difference(treated, control)
    always = always_valid(apart, tau)
    p = min([p_value(apart, tau), *(p_value(look.difference, tau) for look in results)])
    lift = apart.value / control.ratio if control.ratio else None
    spared = adjusted(treated, control) if treated.before is not None else None
    return Compared(
        name, _verdict(always), apart, always, p, lift, spared, _needed(treated, control, effect), tuple(results)
    )


def _verdict(always: Estimate) -> Verdict:
    if not always.excludes_zero:
        return "undecided"
    return "better" if always.value > 0 else "worse"


def _needed(treated: Users, control: Users, effect: float) -> int | None:
    if not _tells(control) or not control.ratio:
        return None
    deviation = float(control.linearised().std(ddof=1))
    if not deviation:
        return None
    share = len(treated) / (len(treated) + len(control)) or 0.5
    wanted = effect * control.ratio
    return users_needed_sequential(deviation, wanted, mixture(wanted), share=share)


def preferred(experiment: Experiment, rows: UserRows, span: tuple[float, float]) -> Findings:
    """Judge an interleaving. `rows`: its answers as the one variant. The difference is how far the second variant's
    share of the clicks is from one half.
    """
    second = list(experiment.variants)[1]
    users = users_of(rows, "click_through", 0)
    sides = (_side(rows, "interleaved", 0, users),)
    counts = [[summed(rows, team, 0, until) for team in ("a", "b")] for until in range(PERIODS)]
    tau = mixture(_PREFERENCE)
    looks = [Look(_end(span, n), *_always(a, b, tau)) for n, (a, b) in enumerate(counts) if _enough(a, b)]
    a, b = counts[-1]
    if not _enough(a, b):
        none = Compared(second, "too_few_users", None, None, None, None, None, None, ())
        return Findings(sides, (none,), 1.0, None)
    apart, always = _always(a, b, tau)
    needed = users_needed_pairwise(float(differences(*_clicked(a, b)).std(ddof=1)), _PREFERENCE)
    p = min([p_value(apart, tau), *(p_value(look.difference, tau) for look in looks)])
    one = Compared(second, _verdict(always), apart, always, p, None, None, needed, tuple(looks))
    return Findings(sides, (one,), 1.0, None)


def _clicked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the users who clicked on anything that tells."""
    some = a + b > 0
    return a[some], b[some]


def _enough(a: np.ndarray, b: np.ndarray) -> bool:
    return int((a + b > 0).sum()) >= LEAST_USERS


def _always(a: np.ndarray, b: np.ndarray, tau: float) -> tuple[Estimate, Estimate]:
    apart = preference(*_clicked(a, b))
    return apart, always_valid(apart, tau)
