"""The variants of experiments as scenarios of their own, which rank like any other."""

from __future__ import annotations

from itertools import pairwise

from pydantic import ValidationError

from recsys.config.experiments import Experiment
from recsys.config.scenarios import Scenario
from recsys.config.serving import Serving
from recsys.data.merge_patch import merged
from recsys.data.wording import refusal
from recsys.errors import BadInput

_FIXED = ("experiment", "kind")
"""What a variant cannot change: it is for the same call as the scenario, and has no variants of its own."""


def scenario_name(scenario: str, experiment: Experiment, variant: str) -> str:
    """The scenario that answers for a variant: the experiment's own one where it changes nothing or was stopped.

    Others have a colon in the name, which no request can name.
    """
    given = experiment.variants[variant]
    return f"{scenario}:{variant}" if given.settings and given.stopped is None else scenario


def with_variants(settings: Serving) -> Serving:
    """The settings with a scenario for each variant that has settings. Raises BadInput with the field."""
    added: dict[str, Scenario] = {}
    for name, scenario in settings.scenarios.items():
        if scenario.experiment is None:
            continue
        plain = scenario.model_dump(mode="json") | {"experiment": None}
        for variant, given in scenario.experiment.variants.items():
            inside = ("scenarios", name, "experiment", "variants", variant, "settings")
            for fixed in _FIXED:
                if fixed in given.settings:
                    field = ".".join((*inside, fixed))
                    raise BadInput(f"{field}: a variant has the scenario's; take it out", field=field)
            try:
                parsed = Scenario.model_validate(merged(plain, given.settings))
            except ValidationError as error:
                raise refusal(error, Scenario, inside=inside) from None
            if (own := scenario_name(name, scenario.experiment, variant)) != name:
                added[own] = parsed
    _check_together([s.experiment for s in settings.scenarios.values() if s.experiment is not None])
    return settings.model_copy(update={"scenarios": {**settings.scenarios, **added}}) if added else settings


def _check_together(experiments: list[Experiment]) -> None:
    """Raise BadInput for two experiments of one name, or two that take the same part of a layer."""
    layers: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if sum(other.name == experiment.name for other in experiments) > 1:
            raise BadInput(f"experiment: two of the name {experiment.name!r}; rename one", field="name")
        if experiment.layer is not None:
            layers.setdefault(experiment.layer, []).append(experiment)
    for layer, members in layers.items():
        for first, second in pairwise(sorted(members, key=lambda one: one.begins)):
            if first.begins + first.share > second.begins + 1e-9:
                raise BadInput(
                    f"begins: {first.name!r} takes {first.begins} to {first.begins + first.share} of the layer "
                    f"{layer!r}, and {second.name!r} begins at {second.begins}; let it begin later, or share less",
                    field="begins",
                )
