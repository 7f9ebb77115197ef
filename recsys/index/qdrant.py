"""Qdrant Edge: the engine of Qdrant within this process, without a server.

https://qdrant.tech/documentation/edge. A version holds the folder that Qdrant works in as one file, which each replica
unpacks for itself. Nothing is added to it later: items that came since the build are scored one by one beside it
(`sided.py`).
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
import tempfile
import weakref
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

_STEP = 1000
"""Vectors handed over at a time."""
_FULL_SCAN_KB = 10
"""Segments under this many kilobytes of vectors are read through and not walked: the least that Qdrant takes."""
_WHOLE = "RECSYS.size"
"""Header of an archived file whose end was a hole: its bytes with the hole."""


class Spec(SealedSpec):
    engine: str = "qdrant"
    m: int = Field(16, ge=4, le=128)
    """Links a node."""
    ef_construction: int = Field(200, ge=8, le=2000)
    """Candidates kept while building; more is slower to build and better to search."""

    needs: ClassVar[tuple[str, ...]] = ("qdrant_edge",)
    repeatable: ClassVar[bool] = False

    @property
    def words(self) -> str:
        return f"qdrant m {self.m} ef_construction {self.ef_construction}"


class QdrantBody:
    """A `sided.Body`: a shard of Qdrant in a folder of its own, which goes with it."""

    def __init__(self, shard: Any, folder: Path) -> None:
        self._shard = shard
        self._folder = folder
        self._count = int(shard.info().points_count)
        self._ef_search = ShardTuning().ef_search
        weakref.finalize(self, _remove, shard, folder)

    def __len__(self) -> int:
        return self._count

    def add(self, vectors: Floats, threads: int) -> bool:  # noqa: ARG002 - what came later would be read through anyway
        return False

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        edge = _edge()
        nodes = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        effort = edge.SearchParams(hnsw_ef=max(self._ef_search, k))
        requests = [
            edge.QueryRequest(limit=k, query=edge.Query.Nearest(query), params=effort) for query in queries.tolist()
        ]
        for line, near in enumerate(self._shard.query_batch(edge.QueryBatchRequest(queries=requests))):
            nodes[line, : len(near)] = [point.id for point in near]
            scores[line, : len(near)] = [point.score for point in near]
        return nodes, scores

    def vectors(self, start: int, stop: int) -> Floats:
        points = self._shard.retrieve(list(range(start, stop)), with_payload=False, with_vector=True)
        by_node = {point.id: point.vector for point in points}
        return np.array([by_node[node] for node in range(start, stop)], np.float32)

    def rest(self, queries: Floats, k: int, hidden: Bools) -> tuple[Rows, Floats]:
        return read(self, queries, k, hidden)

    def tune(self, tuning: ShardTuning) -> None:
        self._ef_search = tuning.ef_search

    def dump(self) -> npt.NDArray[np.uint8]:
        self._shard.flush()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(self._folder, arcname=".", filter=self._without_hole)
        return np.frombuffer(packed.getvalue(), np.uint8)

    def _without_hole(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """Qdrant makes files of 32 MiB and writes into their beginning: of a shard of few items that was 137 MB."""
        if member.isfile() and (end := _end_of_data(self._folder / member.name)) < member.size:
            member.pax_headers = {_WHOLE: str(member.size)}
            member.size = end
        return member


def _edge() -> Any:
    import qdrant_edge  # noqa: PLC0415 - see `base.Engine`

    return qdrant_edge


def _remove(shard: Any, folder: Path) -> None:
    shard.close()
    shutil.rmtree(folder, ignore_errors=True)


def _end_of_data(path: Path) -> int:
    """Bytes of the file up to the hole at its end. Where the file system has no holes, or there is none: all."""
    end = 0
    with path.open("rb") as file:
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole follows
                    return end
                raise
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)


def _unpack(packed: npt.NDArray[np.uint8], folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed.tobytes())) as archive:
        archive.extractall(folder, filter="data")
        for member in archive.getmembers():
            if _WHOLE in member.pax_headers:
                os.truncate(folder / member.name, int(member.pax_headers[_WHOLE]))


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="recsys-qdrant-"))


def _build(spec: Spec, vectors: Floats, threads: int) -> QdrantBody:
    edge, folder = _edge(), _folder()
    links = edge.HnswIndexConfig(
        m=spec.m,
        ef_construct=spec.ef_construction,
        full_scan_threshold=_FULL_SCAN_KB,
        max_indexing_threads=threads,
    )
    dense = edge.EdgeVectorParams(size=vectors.shape[1], distance=edge.Distance.Dot)
    whole = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=_FULL_SCAN_KB)
    config = edge.EdgeConfig(vectors=dense, hnsw_config=links, optimizers=whole)
    shard = edge.EdgeShard.create(str(folder), config)
    for start in range(0, len(vectors), _STEP):
        part = vectors[start : start + _STEP]
        points = [edge.Point(node, vector) for node, vector in enumerate(part.tolist(), start)]
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()
    return QdrantBody(shard, folder)


def create(spec: Spec, dimension: int) -> GraphIndex:
    return GraphIndex(SidedGraph(dimension, partial(_build, spec)))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:
    """Raises VersionError when the file is not one of this engine, is cut short, was changed, or does not fit."""
    nodes, parts, body = load_nodes(path), read_parts(path), None
    if parts.side.shape[1] != dimension:
        raise VersionError(f"{path} has vectors of dimension {parts.side.shape[1]}, and {dimension} is needed")
    if len(parts.body):
        folder = _folder()
        try:
            _unpack(parts.body, folder)
            body = QdrantBody(_edge().EdgeShard.load(str(folder)), folder)
        except Exception as error:  # noqa: BLE001 - the library raises errors of several kinds
            shutil.rmtree(folder, ignore_errors=True)
            raise VersionError(f"{path} cannot be read by qdrant: {error}; build again, or `recsys rollback`") from None
    return GraphIndex(SidedGraph(dimension, partial(_build, spec), body, parts), nodes)
