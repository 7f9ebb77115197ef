"""qdrant-edge: Qdrant's engine in this process, with one segment and vectors in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    HnswIndexConfig,
    Point,
    Query,
    QueryBatchRequest,
    QueryRequest,
    SearchParams,
    UpdateOperation,
)

from load_tests.ann.contender import Floats, Ints, K
from load_tests.ann.raw.plain import PlainDriver
from load_tests.comparison.workload import EF_CONSTRUCTION, M

_TOGETHER = 1000
_INDEXED_FROM_KB = 1000


class Driver(PlainDriver):
    efforts = range(K, 1025)

    def __init__(self, _: str) -> None:
        self._effort = self.efforts[0]

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        graph = HnswIndexConfig(M, EF_CONSTRUCTION, full_scan_threshold=1000, max_indexing_threads=threads)
        config = EdgeConfig(
            vectors=EdgeVectorParams(vectors.shape[1], Distance.Dot),
            hnsw_config=graph,
            optimizers=EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=_INDEXED_FROM_KB),
        )
        shard = EdgeShard.create(str(folder / "qdrant"), config)
        for start in range(0, len(vectors), _TOGETHER):
            part = vectors[start : start + _TOGETHER].tolist()
            shard.update(UpdateOperation.upsert_points([Point(start + n, vector) for n, vector in enumerate(part)]))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: Path, dimension: int) -> None:  # noqa: ARG002 - the shard knows it
        self._shard = EdgeShard.load(str(folder / "qdrant"))

    def tune(self, effort: int) -> None:
        self._effort = effort

    def search(self, queries: Floats) -> Ints:
        params = SearchParams(hnsw_ef=self._effort)
        requests = [QueryRequest(limit=K, query=Query.Nearest(query), params=params) for query in queries.tolist()]
        rows = np.full((len(queries), K), -1, np.int64)
        for line, hits in enumerate(self._shard.query_batch(QueryBatchRequest(requests))):
            rows[line, : len(hits)] = [hit.id for hit in hits]
        return rows

    def close(self) -> None:
        self._shard.close()
