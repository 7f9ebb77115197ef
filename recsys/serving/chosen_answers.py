"""Answers of one version, or of one variant of an experiment, whoever asks: for who wants to see how they differ.

None of them is logged, drawn, interleaved or counted as shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import structs

from recsys.datatypes import RecQuery
from recsys.errors import BadInput
from recsys.serving.trials import Trial


class Choice(NamedTuple):
    """What is to answer. None: what answers the user."""

    version: str | None
    """One that the shards hold: the served one, or one on its way to the users."""
    variant: str | None
    """As the log names it: `EXPERIMENT/VARIANT`."""


class ServedVersion(msgspec.Struct, frozen=True):
    """A version that answers users."""

    version: str
    share: float
    """Of the users."""


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
