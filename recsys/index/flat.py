"""The exact engine: reads every vector. The oracle that the others are measured against."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recsys.columns import Column
from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.index.base import best
from recsys.index.graph import GivenVectors
from recsys.index.graph_index import GraphIndex, load_nodes


class Spec(IndexSpec):
    """Nothing can be set: the answer is exact."""

    engine: str = "flat"
    exact: ClassVar[bool] = True
    holds_vectors: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = (ShardTuning().ef_search,)
    cost_growth: ClassVar[float] = 1.0

    @classmethod
    def trials(cls, items: int, dimension: int) -> list[dict[str, Any]]:  # noqa: ARG003 - see `IndexSpec.trials`
        return [{}]


class FlatIndex(GivenVectors):
    """A `Graph` without links."""

    exact_scores: ClassVar[bool] = True
    selects: ClassVar[bool] = False
    reuses: ClassVar[bool] = False

    def __init__(self, dimension: int) -> None:
        self._vectors = Column(np.float32, (dimension,))
        self._hidden: set[int] = set()

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, codes: Floats, threads: int) -> Rows:  # noqa: ARG002 - one is enough here
        start = len(self)
        self._vectors.extend(codes)
        return np.arange(start, len(self))

    def hide(self, nodes: Rows) -> None:
        self._hidden |= set(nodes.tolist())

    def show(self, nodes: Rows) -> None:
        self._hidden -= set(nodes.tolist())

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        scores = codes @ self._vectors.view.T
        if self._hidden:
            scores[:, list(self._hidden)] = -np.inf
        return best(scores, np.arange(len(self)), k)

    def vectors(self, nodes: Rows) -> Floats:
        vectors: Floats = self._vectors.view[nodes]
        return vectors

    def tune(self, tuning: ShardTuning) -> None:
        """Nothing to tune: the answer is exact."""

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, vectors=self._vectors.view, hidden=np.array(sorted(self._hidden), np.int64))


def create(spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the contract's signature
    return GraphIndex(FlatIndex(dimension))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - as above
    nodes = load_nodes(path)
    graph = FlatIndex(dimension)
    with np.load(path, allow_pickle=False) as stored:
        graph.add(stored["vectors"], 1)
        graph.hide(stored["hidden"])
    return GraphIndex(graph, nodes)
