"""Milvus: a collection for each shard of a version, with an HNSW index on it.

https://milvus.io. The URL is `http://user:password@host:19530`, `https://` where the server speaks TLS, or
`https://TOKEN@host` with an API key; a database stands behind the host. Milvus Lite is the same to this engine:
`milvus-lite server --data-dir FOLDER` is a server without passwords for one machine.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import Field

from recsys.datatypes import Floats, Rows
from recsys.index.base import NO_ROW
from recsys.index.store_client import PATIENCE_S, StoreSpec, one_line, wait_until_found
from recsys.index.stored import StoreEngine

_STEP_BYTES = 4 << 20
"""Of vectors in one call; a server takes 64 MB."""
_BUILD_S = 3600.0
"""Seconds that a build waits for the server to index its vectors."""
_CHANNEL = {
    "grpc.keepalive_time_ms": 360_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.use_local_subchannel_pool": 1,
}
"""A gRPC server that is not told otherwise, such as that of Milvus Lite, allows one ping in five minutes, and none
without a call. pymilvus sends one every ten seconds, so such a server ends an idle connection with "Too many pings".
Connections are not shared either: what ends that of another client does not end this one.
"""


class Spec(StoreSpec):
    engine: str = "milvus"
    url_variable: str = Field("RECSYS_MILVUS_URL", pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    """The environment variable that holds the server's URL."""
    m: int = Field(16, ge=4, le=128)
    """Links a node."""
    ef_construction: int = Field(200, ge=8, le=2000)
    """Candidates kept while building; more is slower to build and better to search."""

    needs: ClassVar[tuple[str, ...]] = ("pymilvus",)

    @property
    def words(self) -> str:
        return f"milvus m {self.m} ef_construction {self.ef_construction}"


class Milvus:
    """A `store_client.Store`."""

    widest = 16_384
    """The most that the server gives."""

    def __init__(self, spec: Spec) -> None:
        from pymilvus import MilvusClient  # noqa: PLC0415 - see `base.Engine`

        self._spec = spec
        self._url = spec.url()
        address, token, database = _parts(self._url)
        with self._told():
            self._client = MilvusClient(
                uri=address,
                token=token,
                db_name=database,
                timeout=PATIENCE_S,
                dedicated=True,
                grpc_options=_CHANNEL,
            )

    def create(self, collection: str, vectors: Floats, threads: int) -> None:  # noqa: ARG002 - the server decides
        from pymilvus import DataType  # noqa: PLC0415

        spec, client = self._spec, self._client
        with self._told():
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("node", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
            client.create_collection(collection, schema=schema, timeout=PATIENCE_S)
            step = max(_STEP_BYTES // (vectors.shape[1] * 4), 1)
            for start in range(0, len(vectors), step):
                rows = [{"node": start + i, "vector": v} for i, v in enumerate(vectors[start : start + step])]
                client.insert(collection, rows, timeout=_BUILD_S)
            client.flush(collection, timeout=_BUILD_S)
            links = client.prepare_index_params()
            how = {"M": spec.m, "efConstruction": spec.ef_construction}
            links.add_index("vector", index_type="HNSW", metric_type="IP", params=how)
            client.create_index(collection, links, timeout=_BUILD_S)
            client.load_collection(collection, timeout=_BUILD_S)
            wait_until_found("milvus", len(vectors), lambda: self._count(collection), _BUILD_S)

    def _count(self, collection: str) -> int:
        """A server may say that it has loaded what its searches do not see yet."""
        seen = self._client.query(collection, filter="", output_fields=["count(*)"], timeout=PATIENCE_S)
        return int(seen[0]["count(*)"])

    def search(self, collection: str, queries: Floats, k: int, ef_search: int) -> tuple[Rows, Floats]:
        how = {"metric_type": "IP", "params": {"ef": max(ef_search, k)}}
        with self._told():
            answers = self._client.search(
                collection, data=list(queries), anns_field="vector", limit=k, search_params=how, timeout=PATIENCE_S
            )
        nodes = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for line, near in enumerate(answers):
            nodes[line, : len(near)] = [hit["node"] if "node" in hit else hit["id"] for hit in near]
            scores[line, : len(near)] = [hit["distance"] for hit in near]
        return nodes, scores

    def drop(self, collection: str) -> None:
        with self._told():
            self._client.drop_collection(collection, timeout=PATIENCE_S)

    def close(self) -> None:
        self._client.close()

    def _told(self) -> Any:
        import grpc  # noqa: PLC0415
        from pymilvus import MilvusException  # noqa: PLC0415

        return one_line("milvus", self._url, (MilvusException, grpc.RpcError, OSError))


def _parts(url: str) -> tuple[str, str, str]:
    """The address without credentials, the token, and the database; empty where there is none."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    token = f"{user}:{password}" if password else user
    return f"{parts.scheme}://{host}", token, parts.path.strip("/")


def connect(spec: Spec) -> Milvus:
    """Raises Unavailable when the server is away, or refuses the credentials."""
    return Milvus(spec)


_engine = StoreEngine(connect)
create, load = _engine.create, _engine.load
