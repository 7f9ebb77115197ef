"""Milvus, the server in the `milvus` wheel: an HNSW index, asked over gRPC on loopback."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from milvus import MilvusServer
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections

from load_tests.ann.contender import Floats, Ints, K
from load_tests.ann.raw.plain import PlainDriver
from load_tests.comparison.workload import EF_CONSTRUCTION, M

_TOGETHER = 5000


class Driver(PlainDriver):
    efforts = range(K, 1025)

    def __init__(self, _: str) -> None:
        self._effort = self.efforts[0]

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:  # noqa: ARG002 - the server takes all cores
        self._start(folder)
        try:
            fields = [
                FieldSchema("id", DataType.INT64, is_primary=True),
                FieldSchema("v", DataType.FLOAT_VECTOR, dim=vectors.shape[1]),
            ]
            items = Collection("items", CollectionSchema(fields))
            for start in range(0, len(vectors), _TOGETHER):
                part = vectors[start : start + _TOGETHER]
                items.insert([list(range(start, start + len(part))), list(part)])
            items.flush()
            graph = {"M": M, "efConstruction": EF_CONSTRUCTION}
            items.create_index("v", {"index_type": "HNSW", "metric_type": "IP", "params": graph})
        finally:
            self.close()

    def open(self, folder: Path, dimension: int) -> None:  # noqa: ARG002 - the collection knows it
        self._start(folder)
        self._items = Collection("items")
        self._items.load()

    def _start(self, folder: Path) -> None:
        self._server = MilvusServer(wait_for_started=True)
        self._server.set_base_dir(str(folder / "milvus"))
        self._server.listen_port = _free_port()
        self._server.start()
        connections.connect(host="127.0.0.1", port=str(self._server.listen_port))

    def tune(self, effort: int) -> None:
        self._effort = effort

    def search(self, queries: Floats) -> Ints:
        how = {"metric_type": "IP", "params": {"ef": max(self._effort, K)}}
        rows = np.full((len(queries), K), -1, np.int64)
        for line, hits in enumerate(self._items.search(list(queries), "v", how, limit=K)):
            rows[line, : len(hits.ids)] = hits.ids
        return rows

    def servers(self) -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    def close(self) -> None:
        connections.disconnect("default")
        with suppress(subprocess.TimeoutExpired):  # it is killed then, and gone soon after
            self._server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
