"""The exact engine: reads every vector. The oracle that the others are measured against."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.arrays import Column
from recsys.config import IndexSpec, ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.index.base import best


class FlatIndex:
    def __init__(self, dimension: int) -> None:
        self._vectors = Column(np.float32, (dimension,))
        self._rows = Column(np.int64)
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return len(self._rows) - len(self._removed)

    def add(self, rows: Rows, vectors: Floats, threads: int = 1) -> None:  # noqa: ARG002 - one is enough here
        self._vectors.extend(vectors)
        self._rows.extend(rows)

    def remove(self, rows: Rows) -> None:
        self._removed |= set(rows[np.isin(rows, self._rows.view)].tolist())

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        rows = self._rows.view
        scores = queries @ self._vectors.view[: len(rows)].T
        if self._removed:
            scores[:, np.isin(rows, list(self._removed))] = -np.inf
        return best(scores, rows, k)

    def tune(self, tuning: ShardTuning) -> None:
        """Nothing to tune: the answer is exact."""

    def save(self, path: Path) -> None:
        keep = ~np.isin(self._rows.view, list(self._removed))
        with path.open("wb") as file:
            np.savez(file, rows=self._rows.view[keep], vectors=self._vectors.view[keep])


def create(spec: IndexSpec, dimension: int) -> FlatIndex:  # noqa: ARG001 - the contract's signature
    return FlatIndex(dimension)


def load(path: Path, spec: IndexSpec, dimension: int) -> FlatIndex:
    index = create(spec, dimension)
    with np.load(path, allow_pickle=False) as stored:
        index.add(stored["rows"], stored["vectors"])
    return index
