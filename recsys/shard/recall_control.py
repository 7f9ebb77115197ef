"""Holding a shard's recall over its floor: from measured searches to the effort of searches to come.

A controller sees the recall of searches that were answered again exactly, at the effort (`ef_search`) in force, and
says which effort is next. It knows no clock, no index and no replica, so a simulation runs it as a shard does.

raise   At once, when the newest searches show that the floor is lost, by as much as their deficit asks for; and a
        little, when many searches could not show that it is held.
lower   When enough searches show that a lower effort would hold the floor, by as much as their bound allows, and not
        to an effort that was too low a moment ago. The less there is to gain, the more searches have to show it.
bound   An effort over `max_ef` is not tried. The shard asks for a rebuild, and scores every item meanwhile if they are
        few; after some minutes it tries its graph again.

Recall changes with the effort, so what was measured at another effort does not count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.config.tuning import RecallTarget
from recsys.shard.confidence import lower_bound, upper_bound

Action = Literal["hold", "raise", "lower", "bound", "exact", "walk"]
"""`bound`: the floor is lost at `max_ef`. `exact`: that, and every item is scored from now on. `walk`: no longer."""

_NEWEST = 32
"""Searches that show that the floor is lost. At a recall of 0.85 with a floor of 0.95 they nearly always do."""
_FEWEST = 12
"""With fewer nothing is decided: chance would."""
_SURE = 0.99
"""Confidence that the floor is lost. It is asked with every measurement, so 0.95 would raise an alarm every minute."""
_WINDOW = 512
"""Searches that the lower bound is over, at the most: at a recall of 0.95 it is then 0.004 under what was found."""
_ENOUGH = 64
"""Searches that speak for a lower effort, or for a little larger one, because they found less than the floor."""
_PLENTY = 32
"""Searches that do where the effort is too large by far: their bound alone is over the floor then."""
_PATIENT = 256
"""Searches after which a floor that is neither lost nor shown to be held makes the effort a little larger, too."""
_EXPONENT = 1.5
"""Of two efforts the neighbours that are missed are to each other as the efforts to the power of minus this. Measured
on graphs over clustered and over uniform vectors at a recall of 0.9 to 0.99; see `load_tests/parts/held_recall.py`."""
_RAISE, _RAISE_UNSURE, _LOWER, _LEAST = 4.0, 1.5, 4.0, 1.07
"""Largest factor of one raise, of one whose reason is that the floor is not shown to be held, and of one lowering; and
the least factor that is worth a change."""
_FAR, _MUCH = 1.8, 1.25
"""A lowering by less is put off until enough searches speak for it, and one by less than the second until many do."""
_ALARM = 1.25
"""Where the newest searches miss so many times what the floor allows, more of them are measured at once."""
_AIM = 0.8
"""Of what the floor allows to be missed, what a raise aims at: what is measured at the floor is lost half the time."""
_DISTRUST_S, _LONGEST_DISTRUST_S = 120.0, 1920.0
"""Seconds for which an effort that was too low is not tried again, and twice as long each time that it was tried."""
_WALK_AGAIN_S = 600.0
"""Seconds after which a shard that scores every item tries its graph again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One search that was answered again."""

    recall: float
    """Share of its ten nearest items that were found."""
    floor: float = 0.0
    """What its scenario asks for, where that is more than the shard's settings do."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What holds from now on. `effort`: the `ef_search` of searches; with `exact` every item is scored instead."""

    action: Action
    effort: int
    exact: bool
    rebuild: bool
    """Whether a rebuild is asked for."""
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """How well a floor is held, by the last `searches` at the effort in force."""

    floor: float
    recall: float
    lower: float
    """What recall is not under, with the confidence that is asked for."""
    searches: int
    newest: float
    """Recall of the newest of the searches."""
    newest_upper: float
    """What that is nearly certainly not over."""


class RecallController:
    def __init__(self, target: RecallTarget, start: int, *, may_score_all: bool = False) -> None:
        """`start`: the effort to begin with. `may_score_all`: whether the shard is small enough for `exact`."""
        self.target = target
        least = start if target.min_ef is None else target.min_ef
        self.effort = max(start, least)
        self.exact = False
        self.rebuild = False
        self.held: Held | None = None
        """The floor that is held worst; None: nothing is measured at this effort."""
        self._least, self._most = least, max(target.max_ef, least)
        self._may_score_all = may_score_all
        self._shares: dict[float, deque[float]] = {}
        """By floor, of the effort in force, newest last."""
        self._too_low = 0
        """The largest effort that was too low lately."""
        self._distrust_s = _DISTRUST_S
        self._distrusted_until = 0.0
        self._last: Action = "hold"
        """What was done last, but for holding."""
        self._walk_again = 0.0

    def observe(self, samples: Sequence[Sample], now: float) -> Decision:
        """Take in searches that were measured at the effort in force. `now`: seconds of a clock that does not stop."""
        if self.exact:
            return self._scoring_all(now)
        own = self.target.floor
        for sample in samples:
            floor = max(own, sample.floor)
            shares = self._shares.get(floor)
            if shares is None:
                shares = self._shares[floor] = deque(maxlen=_WINDOW)
            shares.append(sample.recall)
        every = [self._measured(floor, list(shares)) for floor, shares in self._shares.items()]
        self.held = min(every, key=lambda one: one.lower - one.floor, default=None)
        factor, why = max(map(self._wish, every), default=(1.0, "nothing is measured yet"))
        if factor > 1.0:
            return self._raised(factor, why, now)
        if factor < 1.0:
            return self._lowered(factor, why, now)
        if self.held is not None and self.held.lower >= self.held.floor:
            self.rebuild = False
        return self._decided("hold", why)

    @property
    def settled(self) -> bool:
        """Whether many searches show that the effort is right, or every item is scored: fewer are measured then, until
        the newest of them show something else.
        """
        if self.exact:
            return True
        held = self.held
        if held is None or held.searches < _PATIENT or held.lower < held.floor:
            return False
        return 1.0 - held.newest <= _ALARM * (1.0 - held.floor)

    def _measured(self, floor: float, shares: list[float]) -> Held:
        newest = shares[-_NEWEST:]
        return Held(
            floor,
            sum(shares) / len(shares),
            lower_bound(shares, self.target.confidence),
            len(shares),
            sum(newest) / len(newest),
            upper_bound(newest, _SURE),
        )

    def _wish(self, held: Held) -> tuple[float, str]:
        """By which factor the searches of one floor want the effort changed, and why; 1.0: not at all."""
        floor, lower, searches = held.floor, held.lower, held.searches
        if searches < _FEWEST:
            return 1.0, f"{searches} searches say too little"
        if held.newest_upper < floor:
            why = f"recall@10 of the newest {min(searches, _NEWEST)} searches is {held.newest:.3f}, under {floor:g}"
            return _factor(1.0 - held.newest, _AIM * (1.0 - floor), _RAISE), why
        shown = f"recall@10 of {searches} searches is over {lower:.4f}, and is to be over {floor:g}"
        if lower < floor:
            enough = searches >= (_ENOUGH if held.recall < floor else _PATIENT)
            return (_factor(1.0 - lower, 1.0 - floor, _RAISE_UNSURE) if enough else 1.0), shown
        spare = _factor(1.0 - floor, max(1.0 - lower, 1e-9), _LOWER)
        enough = searches >= (_PLENTY if spare > _FAR else _ENOUGH if spare > _MUCH else _PATIENT)
        return (1.0 / spare if spare > _LEAST and enough else 1.0), shown

    def _raised(self, factor: float, why: str, now: float) -> Decision:
        if self.effort >= self._most:
            return self._at_the_bound(f"{why} at ef_search {self.effort}, the most", now)
        tried = self._last == "lower"
        self._distrust_s = min(2 * self._distrust_s, _LONGEST_DISTRUST_S) if tried else _DISTRUST_S
        self._too_low, self._distrusted_until = self.effort, now + self._distrust_s
        self._change(min(max(round(self.effort * factor), self.effort + 1), self._most))
        return self._decided("raise", why)

    def _at_the_bound(self, why: str, now: float) -> Decision:
        held = self.held
        if self._may_score_all and held is not None and held.recall < held.floor:
            self.rebuild, self.exact, self._walk_again = True, True, now + _WALK_AGAIN_S
            self._forget()
            return self._decided("exact", why)
        action: Action = "hold" if self.rebuild else "bound"
        self.rebuild = True
        return self._decided(action, why)

    def _lowered(self, factor: float, why: str, now: float) -> Decision:
        least = self._least
        if now < self._distrusted_until:
            least = max(least, round(self._too_low * _LEAST))
        lower = max(int(self.effort * factor), least)
        if lower * _LEAST > self.effort:
            return self._decided("hold", why)
        self._change(lower)
        return self._decided("lower", why)

    def _scoring_all(self, now: float) -> Decision:
        if now < self._walk_again:
            return self._decided("hold", "every item is scored until the rebuild")
        self.exact = False
        self._forget()
        return self._decided("walk", f"the graph is tried again at ef_search {self.effort}")

    def _change(self, effort: int) -> None:
        self.effort = effort
        self._forget()

    def _forget(self) -> None:
        self._shares.clear()
        self.held = None

    def _decided(self, action: Action, why: str) -> Decision:
        if action != "hold":
            self._last = action
        return Decision(action, self.effort, self.exact, self.rebuild, why)


def _factor(missed: float, allowed: float, most: float) -> float:
    """By how much more effort so much less is missed."""
    return float(min(max((missed / allowed) ** (1.0 / _EXPONENT), _LEAST), most))
