"""A version's recall floor in a shard's replica: what the controller decides is put to the shard, and told."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping

from recsys.config.tuning import RecallTarget, ShardTuning
from recsys.shard.live_recall import Measured
from recsys.shard.recall_control import Decision, RecallController
from recsys.shard.shard import Shard
from recsys.state.membership import RecallState

_SETTLED_S = 8.0
"""Seconds between two measurements of a floor that is held. A loss that one measurement of 32 searches shows is still
seen within these, and a smaller one within half a minute."""

log = logging.getLogger(__name__)


class RecallHolding:
    """`name`: of shard and version, for the log. `exact`: whether the engine finds everything by itself."""

    def __init__(self, name: str, *, exact: bool) -> None:
        self._name = name
        self._exact_engine = exact
        self._begun_with: tuple[Shard, RecallTarget | None, int] | None = None
        """What the controller was made for: another shard, target or start gets another one."""
        self._controller: RecallController | None = None
        self._why = ""
        self._actions: Counter[str] = Counter()
        self._deciding = threading.Lock()

    def tune(self, shard: Shard, tuning: ShardTuning) -> None:
        """Take over settings. An `ef_search` that was reached stays, unless they say something else about it."""
        with self._deciding:
            self._tune(shard, tuning)

    def _tune(self, shard: Shard, tuning: ShardTuning) -> None:
        shard.tune(tuning)
        target = None if self._exact_engine or not tuning.recall_share else tuning.recall
        begun_with = shard, target, shard.tuning.ef_search
        if begun_with != self._begun_with:
            self._begun_with = begun_with
            self._controller = None if target is None else _controller(target, shard)
            self._why = ""
        controller = self._controller
        if controller is None:
            shard.exact = False
        else:
            shard.hold(controller.effort, exact=controller.exact)

    def observe(self, shard: Shard, measured: Measured, now: float) -> None:
        """Decide by searches of this shard, and put it into force. `now`: seconds of a clock that does not stop."""
        with self._deciding:
            controller = self._controller
            # Settings may have changed since the measurement began.
            if controller is None or not measured.samples or measured.effort != controller.effort:
                return
            decision = controller.observe(measured.samples, now)
            if decision.action == "hold":
                return
            self._actions[decision.action] += 1
            self._why = decision.why
            shard.hold(decision.effort, exact=decision.exact)
            self._tell(decision, measured.effort)

    @property
    def rest_s(self) -> float:
        """Least seconds until searches are measured again; 0.0: as soon as may be."""
        controller = self._controller
        return _SETTLED_S if controller is not None and controller.settled else 0.0

    def take_actions(self) -> Mapping[str, int]:
        """Changes since the last call, by action."""
        actions, self._actions = self._actions, Counter()
        return actions

    def state(self) -> RecallState | None:
        """For the replica's record; None: no floor is held."""
        controller = self._controller
        if controller is None:
            return None
        setting = controller.held
        return RecallState(
            ef_search=controller.effort,
            floor=controller.target.floor if setting is None else setting.floor,
            lower=None if setting is None else round(setting.lower, 3),
            searches=0 if setting is None else setting.searches,
            exact=controller.exact,
            rebuild=controller.rebuild,
            why=self._why,
        )

    def _tell(self, decision: Decision, before: int) -> None:
        what = {
            "raise": f"ef_search {before} -> {decision.effort}",
            "lower": f"ef_search {before} -> {decision.effort}",
            "bound": "the recall floor is lost, and a rebuild is asked for",
            "exact": "the recall floor is lost: every item is scored, and a rebuild is asked for",
            "walk": "the index is searched again",
        }
        level = logging.WARNING if decision.action in {"bound", "exact"} else logging.INFO
        log.log(level, "%s: %s: %s", self._name, what[decision.action], decision.why)


def _controller(target: RecallTarget, shard: Shard) -> RecallController:
    return RecallController(target, shard.tuning.ef_search, may_score_all=shard.items.live <= target.exact_items)
