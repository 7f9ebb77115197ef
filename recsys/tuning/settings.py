"""Which settings are tried: what the engines say in tables beside them (`IndexSpec.trials` and `efforts`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from recsys.config.index import IndexSpec, Originals, engine_module, engine_names
from recsys.errors import VersionError


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of an engine's table, which may depend on how many items there are."""

    engine: str
    row: int
    """Of the table; -1: the engine has none, or a kind of it was named."""
    limits: tuple[tuple[str, Any], ...] = ()
    """Bounds of what a build may raise, as the operator has set them."""

    def spec(self, items: int, dimension: int) -> IndexSpec:
        """For a shard of so many items."""
        table = _table(self.engine, items, dimension)
        return IndexSpec.of(
            **{"engine": self.engine, **dict(self.limits), **(table[self.row] if self.row >= 0 else {})}
        )


def settings(names: Sequence[str], items: int, dimension: int, current: IndexSpec | None = None) -> list[Setting]:
    """What the tables of the engines say; of engines that are named here and have no table, the default. `names` empty:
    all engines that have one. `current`: whose limits hold for others, too. Raises VersionError for an unknown engine.
    """
    chosen: list[Setting] = []
    for name in names or engine_names():
        module = engine_module(name)
        if module is None:
            raise VersionError(f"there is no engine {name!r}; there are {', '.join(engine_names())}")
        given = set() if current is None else {field for field in current.model_fields_set if field.endswith("_limit")}
        limits = tuple((field, getattr(current, field)) for field in sorted(given & module.Spec.model_fields.keys()))
        table = range(len(_table(name, items, dimension)))
        chosen += [Setting(name, row, limits) for row in table or ((-1,) if names else ())]
    return chosen


def _table(engine: str, items: int, dimension: int) -> list[dict[str, Any]]:
    """Of an engine by name; empty of one of its kinds."""
    module = engine_module(engine)
    return [] if module is None or ":" in engine else module.Spec.trials(items, dimension)


def tried_efforts(spec: IndexSpec) -> tuple[int, ...]:
    """Those of the engine's table up to the spec's own limit of what a build may raise."""
    limit = getattr(spec, "ef_search_limit", None)
    return tuple(effort for effort in spec.efforts if limit is None or effort <= limit) or spec.efforts[:1]


def variants(spec: IndexSpec) -> Iterator[IndexSpec]:
    """The same index with each of the vectors that a shard may keep beside it."""
    for originals in get_args(Originals):
        if originals != "none" or spec.holds_vectors:
            yield spec.model_copy(update={"originals": originals})


def label(spec: IndexSpec) -> str:
    """For tables, and to tell settings apart."""
    kept = "" if spec.originals == "float32" else f", originals {spec.originals}"
    return f"{spec.words}{kept}"
