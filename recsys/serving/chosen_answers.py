"""Answers of one version, or of one variant of an experiment, whoever asks: for who wants to see how they differ.

None of them is logged, drawn, interleaved or counted as shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from recsys.answers import Slate
from recsys.datatypes import RecQuery
from recsys.errors import BadInput
from recsys.serving.encoder_calls import QueryTexts
from recsys.serving.lanes import Lanes, ServedVersion
from recsys.serving.trials import Trial
from recsys.transport.coalescing import Caller


class Choice(NamedTuple):
    """What is to answer. None: what answers the user."""

    version: str | None
    """One that the shards hold: the served one, or one on its way to the users."""
    variant: str | None
    """As the log names it: `EXPERIMENT/VARIANT`."""


def in_variant(query: RecQuery, variant: str | None, trials: Mapping[str, Trial]) -> RecQuery:
    """Return the query by the settings of a variant; None: of the user's own. It is logged nowhere.

    Raises BadInput for a variant that does not run on the query's scenario.
    """
    unlogged = structs.replace(query, request_id=None, noted=False)
    trial = trials.get(query.scenario)
    if variant is None:
        return unlogged if trial is None else trial.as_ranked(unlogged)
    scenario = None if trial is None else trial.scenario_of(variant)
    if scenario is None:
        names = ", ".join(trial.labels()) if trial is not None else ""
        there = f"those of {query.scenario} are {names}" if names else f"no experiment runs on {query.scenario}"
        raise BadInput(f"variant: there is no {variant!r}; {there}", field="variant")
    return structs.replace(unlogged, scenario=scenario)


def place_of(version: str, served: Sequence[ServedVersion]) -> int:
    """Return the place of a version among those that are served. Raises BadInput where it is none of them."""
    for place, one in enumerate(served):
        if one.version == version:
            return place
    names = ", ".join(one.version for one in served)
    raise BadInput(
        f"version: the shards answer with {names} alone, and not with {version!r}; "
        "`recsys promote VERSION --canary 1%` lets them hold another one as well",
        field="version",
    )


class ChosenAnswers:
    """`budget_s`: seconds for the vector of a text."""

    def __init__(self, lanes: Lanes, trials: Mapping[str, Trial], texts: QueryTexts, budget_s: float) -> None:
        self._lanes = lanes
        self._trials = trials
        self._texts = texts
        self._budget_s = budget_s

    def versions(self) -> list[ServedVersion]:
        """What answers users: the served version, and behind it the one that goes out beside it."""
        return self._lanes.versions()

    def variants(self) -> dict[str, list[str]]:
        """Scenario -> the variants that run on it, as the log names them."""
        return {name: labels for name, trial in self._trials.items() if (labels := trial.labels())}

    async def slate(
        self, query: RecQuery, choice: Choice, text: str | None = None, caller: Caller | None = None
    ) -> Slate:
        """The answer of a version or of a variant. Raises BadInput where there is none."""
        caller, query = caller or Caller(), in_variant(query, choice.variant, self._trials)
        version = choice.version or self._lanes.serve_of(query.user_id).version
        on_trial = place_of(version, self.versions()) > 0
        lane = self._lanes.trial if on_trial else self._lanes.served
        if text is not None:
            serve = lane.serve()
            vector = await self._texts.vector(serve.version, text, caller, self._budget_s)
            query = structs.replace(query, vector=vector, encoder=serve.fingerprint)
        slate = await lane.slates.submit(query, caller)
        return structs.replace(slate, variant=choice.variant or "")
