"""How vectors are indexed, and which engines there are."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import ModelWrapValidatorHandler, field_validator, model_validator

from recsys.config.base import Settings

Originals = Literal["float32", "float16", "none"]

ENGINES = "recsys.engines"
"""Group of entry points by which another package brings engines: name -> module."""


def engine_module(engine: str) -> ModuleType | None:
    """The module of an engine: a file in recsys/index of that name, or what an entry point names. None: there is none.

    It is found by name, for the engines import this file, and one of another package is known by nothing else.
    """
    name = engine.partition(":")[0]
    if name.isidentifier() and find_spec(f"recsys.index.{name}") is not None:
        module = import_module(f"recsys.index.{name}")
        return module if hasattr(module, "Spec") else None
    for entry in entry_points(group=ENGINES, name=name):
        return cast("ModuleType", entry.load())
    return None


def engine_names() -> list[str]:
    """What `index.engine` may name, sorted."""
    files = [module.name for module in iter_modules(import_module("recsys.index").__path__)]
    ours = [name for name in files if engine_module(name) is not None]
    return sorted({*ours, *entry_points(group=ENGINES).names})


class IndexSpec(Settings):
    """How the vectors are indexed; fixed when a version is built.

    Every engine has what stands here. What else can be set stands beside the engine, in a subclass that its module
    calls `Spec`, and with it how a build raises it. `of` and validation give an object of that subclass.
    """

    engine: str = "hnsw"
    """`flat` is exact and reads every vector; `hnsw` is approximate and reads a few hundred; `hnsw_int8` does so over
    vectors of a byte a component: a third of the memory. docs/operations.md says which one when. An engine of
    several kinds has the kind behind a colon."""

    originals: Originals = "float32"
    """The vectors that a shard keeps beside the index, to score candidates with: `float32`; `float16`, half the memory,
    with scores that are right to three digits; `none`: candidates are scored with the vectors that the index holds,
    which are rounded where the engine rounds. The files of a version always have the vectors."""

    exact: ClassVar[bool] = False
    """Whether a search reads every vector: then nothing is to be measured or raised."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules of other packages that the extra of the engine's name installs; empty: it has no extra."""
    repeatable: ClassVar[bool] = True
    """Whether two builds of the same vectors on one thread give the same files."""

    holds_vectors: ClassVar[bool] = False
    """Whether the engine's index gives back its vectors, see `base.HoldsVectors`; `originals: none` needs it."""

    builds_from_file: ClassVar[bool] = False
    """Whether the engine's index is built from a map of its vectors, see `base.BuildsFromFile`: never all of them are
    in memory."""

    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256, 512)
    """Values of `ShardTuning.ef_search` that `recsys tune` tries, in ascending order."""

    cost_growth: ClassVar[float] = 0.5
    """How the cost of a search grows with the number of vectors: n times as many cost n to this power as much. With it
    `recsys tune` compares engines on samples: 1 for one that reads every vector, near 0 for a graph."""

    @classmethod
    def of(cls, engine: str = "hnsw", **settings: Any) -> IndexSpec:
        """ValidationError when there is no such engine, or when a setting is not the engine's."""
        return IndexSpec.model_validate({"engine": engine, **settings})

    @model_validator(mode="wrap")
    @classmethod
    def _of_the_engine(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if cls is not IndexSpec or not isinstance(given, dict):
            return handler(given)
        engine = given.get("engine", cls.model_fields["engine"].default)
        try:
            module = engine_module(str(engine))
        except (ImportError, OSError) as error:  # the latter: a shared library of the package
            raise ValueError(f"engine: {engine} cannot be used here ({error}); install what it needs") from None
        if module is None:
            raise ValueError(f"engine: there is no {engine!r}; there are {', '.join(engine_names())}")
        return cast("Self", module.Spec.model_validate(given))

    @field_validator("engine")
    @classmethod
    def judge_engine(cls, engine: str) -> str:
        """To be overridden by an engine of several kinds, which stand behind a colon."""
        name = engine.partition(":")[0]
        if engine != name:
            raise ValueError(f"{name} has no kinds; leave out {engine.removeprefix(name)!r}")
        return engine

    @model_validator(mode="after")
    def _originals_are_somewhere(self) -> Self:
        if self.originals == "none" and not self.holds_vectors:
            raise ValueError(f"originals: {self.engine} does not give its vectors back; set float16 or float32")
        return self

    @classmethod
    def trials(cls, items: int, dimension: int) -> list[dict[str, Any]]:  # noqa: ARG003 - for those that override it
        """Settings that `recsys tune` tries for so many vectors. Empty: it tries the engine only where it is named, as
        it is by default.
        """
        return []

    def stronger(self) -> Iterator[IndexSpec]:
        """What a build tries when too little is found, cheapest first: the same with settings raised."""
        yield from ()

    def ef_searches(self, ef_search: int) -> list[int]:
        """What a build tries for `ShardTuning.ef_search`, from the operator's on."""
        return [ef_search]

    @property
    def grows(self) -> bool:
        """Whether items that come later are added to the index; else they are scored one by one."""
        return True

    @property
    def removes(self) -> bool:
        """Whether a search passes over removed items by itself; else they are dropped from its answer."""
        return True

    @property
    def server(self) -> bool:
        """Whether the vectors are in a server of their own, which can be away."""
        return False

    @property
    def words(self) -> str:
        """In a message: the engine and what it was built with."""
        return self.engine

    @property
    def limits(self) -> str:
        """The settings that bound `stronger` and `ef_searches`, with their values; empty: there are none."""
        return ""
