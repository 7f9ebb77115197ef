"""The check of scenarios, and their rules and filters once they are checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.data.filters import FilterIn, Referable, compile_filter
from recsys.data.rules import parse_rules
from recsys.data.wording import refusal
from recsys.datatypes import Filter, Rule
from recsys.errors import BadInput
from recsys.ranking.signals import SIGNALS
from recsys.ranking.variants import with_variants
from recsys.shard import sources


def check(settings: Serving, platform: Platform) -> None:
    """Raise BadInput, with the field, for the first fault of an experiment, the first unknown source or signal in a
    scenario, the first cap on anything but a declared keyword attribute, segments by anything but a declared attribute
    of users, and the first fault of a rule, a filter or a fallback.
    """
    settings = with_variants(settings)
    for name, scenario in settings.scenarios.items():
        place = f"scenarios.{name}"
        for n, source in enumerate(scenario.sources or ()):
            _check_name(f"{place}.sources.{n}.source", source.source, sources.DEFAULT)
        for signal in scenario.weights or ():
            _check_name(f"{place}.weights.{signal}", signal, SIGNALS)
        for key in scenario.caps:
            if platform.attributes.get(key) not in ("keyword", "keyword[]"):
                field = f"{place}.caps.{key}"
                raise BadInput(f"{field}: declare it under args.attributes as keyword or keyword[]", field=field)
    attribute, field = settings.segments.attribute, "segments.attribute"
    if attribute is not None and platform.user_attributes.get(attribute) not in ("keyword", "boolean"):
        raise BadInput(f"{field}: declare {attribute!r} under args.user_attributes as keyword or boolean", field=field)
    _check_fallbacks(settings)
    compiled(settings, platform)


@dataclass(frozen=True, slots=True)
class Compiled:
    """What of a scenario is checked against the declared attributes."""

    rules: tuple[Rule, ...] = ()
    filter: Filter | None = None


def referable_of(platform: Platform) -> Referable:
    """What filters may refer to."""
    return {"user": platform.user_attributes, "context": platform.context}


def compiled(settings: Serving, platform: Platform) -> dict[str, Compiled]:
    """The rules and the filter of each scenario that has some. Raises BadInput with the field."""
    compiled, declared, referable = {}, platform.attributes, referable_of(platform)
    for name, scenario in settings.scenarios.items():
        rules = parse_rules(scenario.rules, declared, ("scenarios", name, "rules"), referable)
        given = None
        if scenario.filter is not None:
            try:
                given = FilterIn.model_validate(scenario.filter)
            except ValidationError as error:
                raise refusal(error, FilterIn, inside=("scenarios", name, "filter")) from None
        own = compile_filter(given, declared, f"scenarios.{name}.filter", referable)
        if rules or own is not None:
            compiled[name] = Compiled(rules, own)
    return compiled


def _check_fallbacks(settings: Serving) -> None:
    for name, scenario in settings.scenarios.items():
        if scenario.fallback is None:
            continue
        field = f"scenarios.{name}.fallback"
        _check_name(field, scenario.fallback, settings.scenarios)
        call, other = scenario.call(name), settings.scenarios[scenario.fallback].call(scenario.fallback)
        if "rank" in (call, other) or other not in (call, "home"):
            raise BadInput(
                f"{field}: {scenario.fallback!r} is for {other}, and cannot stand in for {call}", field=field
            )


def _check_name(field: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise BadInput(f"{field}: there is no {name!r}; there are {', '.join(names)}", field=field)
