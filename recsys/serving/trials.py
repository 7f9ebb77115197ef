"""Requests of scenarios that try something: an experiment, or places that are drawn at random.

Which variant a user has follows from a hash, so no request waits for anything. A scenario that tries nothing is not
here, and its requests pay one look into an empty table.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping

from msgspec import structs

from recsys.answers import Slate
from recsys.config.scenarios import Scenario
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.ranking.variants import scenario_name
from recsys.serving.drawing import drawn
from recsys.state.vitals import Vitals
from recsys.statistics.splitting import Split
from recsys.statistics.team_draft import team_draft
from recsys.transport.coalescing import Caller

Rank = Callable[[RecQuery], Awaitable[Slate]]

INTERLEAVED = "interleaved"
"""The variant of an answer that is made of two."""


class Trial:
    """Of one scenario. `served`: all scenarios, those of variants among them."""

    def __init__(self, name: str, served: Mapping[str, Scenario], vitals: Vitals) -> None:
        self._name = name
        self._temperatures = {other: s.temperature for other, s in served.items() if s.temperature}
        self._vitals = vitals
        experiment = self._experiment = served[name].experiment
        self._split: Split | None = None
        if experiment is None:
            return
        variants = experiment.variants
        self._scenarios = [scenario_name(name, experiment, variant) for variant in variants]
        self._labels = [
            f"{experiment.name}/{variant}" if given.stopped is None else "" for variant, given in variants.items()
        ]
        # A stopped variant gives its users to the control, and none of them moves. They are in the experiment no more.
        weights = [variant.weight for variant in variants.values()]
        layer = experiment.layer or f"layer of {experiment.name}"
        self._split = Split(f"layer:{layer}"[:64], experiment.name, weights, experiment.share, experiment.begins)

    def label(self, query: RecQuery) -> str:
        """The variant that the log names: `EXPERIMENT/VARIANT`; empty: the request is in no experiment."""
        place = self._place(query)
        return "" if place is None or self._interleaves else self._labels[place]

    def as_ranked(self, query: RecQuery) -> RecQuery:
        """The query by the settings of its variant; an interleaved one by those of the control."""
        place = self._place(query)
        if place is None or self._interleaves:
            return query
        return structs.replace(query, scenario=self._scenarios[place])

    def scenario_of(self, label: str) -> str | None:
        """The scenario that answers for a variant, named as the log does; None: there is no such variant, or it was
        stopped.
        """
        return None if self._split is None else dict(zip(self._labels, self._scenarios, strict=True)).get(label or "-")

    def labels(self) -> list[str]:
        """The variants that run, the control first."""
        return [] if self._split is None else [label for label in self._labels if label]

    @property
    def _interleaves(self) -> bool:
        return self._experiment is not None and self._experiment.kind == "interleaving"

    def _place(self, query: RecQuery) -> int | None:
        """Of the query's variant; None: it is in no experiment."""
        if self._split is None or query.user_id is None:
            return None
        return self._split.variant(query.user_id)

    async def slate(self, query: RecQuery, rank: Rank, caller: Caller | None) -> Slate:
        """The answer. A query without a `request_id` is not logged, so it is neither interleaved nor drawn."""
        place, logged = self._place(query), query.request_id is not None
        if place is None:
            return self._drawn(await rank(query), self._name, logged=logged)
        since = time.monotonic() if caller is None else caller.since
        if self._interleaves:
            if not logged or not all(self._labels):
                return await rank(query)
            slate = await self._interleaved(query, rank)
        else:
            scenario, label = self._scenarios[place], self._labels[place]
            slate = await rank(query if scenario == self._name else structs.replace(query, scenario=scenario))
            slate = self._drawn(structs.replace(slate, variant=label), scenario, logged=logged)
        if slate.variant and logged:
            self._vitals.note(slate.variant, time.monotonic() - since, degraded=bool(slate.degraded))
        return slate

    def _drawn(self, slate: Slate, scenario: str, *, logged: bool) -> Slate:
        temperature = self._temperatures.get(scenario, 0.0)
        return drawn(slate, temperature) if temperature and logged else slate

    async def _interleaved(self, query: RecQuery, rank: Rank) -> Slate:
        a, b = await asyncio.gather(
            *(rank(query if name == self._name else structs.replace(query, scenario=name)) for name in self._scenarios)
        )
        lists = [[item.item_id for item in slate.items] for slate in (a, b)]
        chosen, teams = team_draft(lists[0], lists[1], query.k, query.request_id or "")
        items = tuple(
            structs.replace((a, b)[ranker].items[place], rank=rank)
            for rank, (ranker, place) in enumerate(chosen, start=1)
        )
        assert self._experiment is not None
        return structs.replace(
            a,
            items=items,
            degraded=tuple(dict.fromkeys((*a.degraded, *b.degraded))),
            variant=f"{self._experiment.name}/{INTERLEAVED}",
            teams=tuple(teams),
            propensities=(math.nan,) * len(items),  # a coin was in it, and nobody has worked out how much
        )


def trials(served: Serving, vitals: Vitals) -> dict[str, Trial]:
    """By scenario, of those that try something. `served`: with the scenarios of variants."""
    return {
        name: Trial(name, served.scenarios, vitals)
        for name, scenario in served.scenarios.items()
        if ":" not in name and (scenario.experiment is not None or scenario.temperature)
    }
