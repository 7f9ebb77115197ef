"""hnswlib: the graph of the default engine, without a shard around it."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from load_tests.ann.contender import Floats, Ints, K
from load_tests.ann.raw.plain import PlainDriver
from load_tests.comparison.workload import EF_CONSTRUCTION, M


class Driver(PlainDriver):
    efforts = range(K, 1025)

    def __init__(self, _: str) -> None: ...

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors), ef_construction=EF_CONSTRUCTION, M=M, random_seed=7)
        index.add_items(vectors, np.arange(len(vectors)), num_threads=threads)
        index.save_index(str(folder / "index"))

    def open(self, folder: Path, dimension: int) -> None:
        self._index = hnswlib.Index(space="ip", dim=dimension)
        self._index.load_index(str(folder / "index"))

    def tune(self, effort: int) -> None:
        self._index.set_ef(effort)

    def search(self, queries: Floats) -> Ints:
        rows, _ = self._index.knn_query(queries, K, num_threads=1)
        return rows.astype(np.int64)
