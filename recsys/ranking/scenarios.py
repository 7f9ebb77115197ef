"""The check that scenarios name existing signals, sources and attributes."""

from __future__ import annotations

from collections.abc import Iterable

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.errors import BadInput
from recsys.ranking.signals import SIGNALS
from recsys.shard import sources


def check(settings: Serving, platform: Platform) -> None:
    """Raise BadInput, with the field, for the first unknown source or signal in a scenario, and for the first cap on
    anything but a declared keyword attribute.
    """
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


def _check_name(field: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise BadInput(f"{field}: there is no {name!r}; there are {', '.join(names)}", field=field)
