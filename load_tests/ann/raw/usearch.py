"""usearch, float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from usearch.index import Index

from load_tests.ann.contender import Floats, Ints, K
from load_tests.ann.raw.plain import PlainDriver
from load_tests.comparison.workload import EF_CONSTRUCTION, M


class Driver(PlainDriver):
    efforts = range(K, 1025)

    def __init__(self, _: str) -> None: ...

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
        index.add(np.arange(len(vectors)), vectors, threads=threads)
        index.save(str(folder / "index"))

    def open(self, folder: Path, dimension: int) -> None:  # noqa: ARG002 - the file knows it
        self._index = Index.restore(str(folder / "index"))

    def tune(self, effort: int) -> None:
        self._index.expansion_search = effort

    def search(self, queries: Floats) -> Ints:
        keys = self._index.search(queries, K, threads=1).keys
        return np.asarray(keys, np.int64).reshape(len(queries), K)
