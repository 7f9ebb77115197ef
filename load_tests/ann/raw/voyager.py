"""voyager, float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import voyager

from load_tests.ann.contender import Floats, Ints, K
from load_tests.ann.raw.plain import PlainDriver
from load_tests.comparison.workload import EF_CONSTRUCTION, M


class Driver(PlainDriver):
    efforts = range(K, 1025)

    def __init__(self, _: str) -> None:
        self._effort = self.efforts[0]

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        index = voyager.Index(
            voyager.Space.InnerProduct, num_dimensions=vectors.shape[1], M=M, ef_construction=EF_CONSTRUCTION
        )
        index.add_items(vectors, np.arange(len(vectors)), num_threads=threads)
        index.save(str(folder / "index"))

    def open(self, folder: Path, dimension: int) -> None:  # noqa: ARG002 - the file knows it
        self._index = voyager.Index.load(str(folder / "index"))

    def tune(self, effort: int) -> None:
        self._effort = effort

    def search(self, queries: Floats) -> Ints:
        rows, _ = self._index.query(queries, K, num_threads=1, query_ef=self._effort)
        return np.asarray(rows, np.int64)
