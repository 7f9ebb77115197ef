"""annoy: a forest of trees that halve the space again and again, built once and mapped from its file.

https://github.com/spotify/annoy. Nothing can be added to a forest: items that came since the build are scored one by
one beside it (`sided.py`), so rebuild nightly. `ef_search` of the shards is the effort of a search: as many nodes are
looked at in each tree.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index.base import NO_ROW
from recsys.index.effort import SealedSpec
from recsys.index.graph_index import GraphIndex, load_nodes
from recsys.index.sided import Bools, SidedGraph, read, read_parts

_SEED = 7
"""Two builds on one thread are the same forest."""


class Spec(SealedSpec):
    engine: str = "annoy"
    trees: int = Field(50, ge=1, le=1000)
    """More find more, and take memory and time of a build."""
    ef_search_limit: int = Field(4096, ge=1, le=100_000)
    """How far a build may raise the shards' `ef_search` when recall is too low."""

    needs: ClassVar[tuple[str, ...]] = ("annoy",)
    holds_vectors: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = (50, 100, 200, 400, 800, 1600)
    cost_growth: ClassVar[float] = 0.3

    @classmethod
    def trials(cls, items: int, dimension: int) -> list[dict[str, Any]]:  # noqa: ARG003 - see `IndexSpec.trials`
        return [{"trees": 20}, {"trees": 100}]

    @property
    def words(self) -> str:
        return f"annoy of {self.trees} trees"


class AnnoyBody:
    def __init__(self, forest: Any, dimension: int) -> None:
        self._forest = forest
        self._dimension = dimension
        self._effort = ShardTuning().ef_search

    def __len__(self) -> int:
        return int(self._forest.get_n_items())

    def add(self, vectors: Floats, threads: int) -> bool:  # noqa: ARG002 - a forest cannot grow
        return False

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        nodes = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        effort = max(self._effort, k) * self._forest.get_n_trees()
        for line, query in enumerate(queries.tolist()):  # annoy takes one at a time
            near, likeness = self._forest.get_nns_by_vector(query, k, effort, include_distances=True)
            nodes[line, : len(near)], scores[line, : len(near)] = near, likeness
        return nodes, scores

    def vectors(self, start: int, stop: int) -> Floats:
        return self.at(np.arange(start, stop))

    def at(self, nodes: Rows) -> Floats:
        part = [self._forest.get_item_vector(node) for node in nodes.tolist()]
        return np.array(part, np.float32).reshape(-1, self._dimension)

    def rest(self, queries: Floats, k: int, hidden: Bools) -> tuple[Rows, Floats]:
        return read(self, queries, k, hidden)

    def tune(self, tuning: ShardTuning) -> None:
        self._effort = tuning.ef_search

    def dump(self) -> npt.NDArray[np.uint8]:
        with tempfile.NamedTemporaryFile(suffix=".annoy") as file:
            self._forest.save(file.name, prefault=False)
            return np.fromfile(file.name, np.uint8)


def _empty(dimension: int) -> Any:
    import annoy  # noqa: PLC0415 - see `base.Engine`

    return annoy.AnnoyIndex(dimension, "dot")


def _build(trees: int, vectors: Floats, threads: int) -> AnnoyBody:
    forest = _empty(vectors.shape[1])
    forest.set_seed(_SEED)
    for node, vector in enumerate(vectors.tolist()):
        forest.add_item(node, vector)
    forest.build(trees, n_jobs=threads)
    return AnnoyBody(forest, vectors.shape[1])


def create(spec: Spec, dimension: int) -> GraphIndex:
    return GraphIndex(SidedGraph(dimension, partial(_build, spec.trees)))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:
    """Raises VersionError when the file is not one of this engine, is cut short, was changed, or does not fit."""
    nodes, parts, body = load_nodes(path), read_parts(path), None
    if len(parts.body):
        forest = _empty(dimension)
        try:
            with tempfile.NamedTemporaryFile(suffix=".annoy") as file:
                parts.body.tofile(file.name)
                forest.load(file.name)  # mapped: it stays when the name is gone
        except OSError as error:
            raise VersionError(f"{path}: annoy cannot load it: {error}; build again, or `recsys rollback`") from None
        body = AnnoyBody(forest, dimension)
    return GraphIndex(SidedGraph(dimension, partial(_build, spec.trees), body, parts), nodes)
