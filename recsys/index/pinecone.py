"""Pinecone: a namespace for each shard of a version, in an index that its owner has made.

https://docs.pinecone.io. The URL is `https://KEY@HOST`: an API key, and the host of the index that its page names. The
index needs the metric `dotproduct` and the dimension of the vectors. A search is one call a query, side by side.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import Field

from recsys.datatypes import Floats, Rows
from recsys.errors import Unavailable, VersionError
from recsys.index.base import NO_ROW
from recsys.index.store_client import PATIENCE_S, StoreSpec, one_line, wait_until_found
from recsys.index.stored import StoreEngine

_STEP_BYTES = 1 << 20
"""Of vectors in one call. It takes 2 MB of JSON and 1,000 vectors; a component is some ten characters."""
_SIDE_BY_SIDE = 8
"""Calls at a time."""
_VISIBLE_S = 300.0
"""Seconds that a build waits for what it sent to be found: writes become visible some time after they are taken."""
_LEAST = 1e-7
"""What stands in the first component of a vector of zeros."""


class Spec(StoreSpec):
    engine: str = "pinecone"
    url_variable: str = Field("RECSYS_PINECONE_URL", pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    """The environment variable that holds `https://KEY@HOST`."""

    needs: ClassVar[tuple[str, ...]] = ("pinecone",)

    def ef_searches(self, ef_search: int) -> list[int]:
        """Nothing can be raised: Pinecone has no such setting."""
        return [ef_search]

    @property
    def limits(self) -> str:
        return ""


class Pinecone:
    """A `store_client.Store`."""

    widest = 10_000
    """The most that it gives."""

    def __init__(self, spec: Spec) -> None:
        self._url = spec.url()
        parts = urlsplit(self._url)
        key, host = unquote(parts.username or ""), parts.netloc.rpartition("@")[2]
        if not key or not host:
            raise Unavailable(f"index.engine pinecone: ${spec.url_variable} is not of the form https://KEY@HOST")
        self._calls = ThreadPoolExecutor(_SIDE_BY_SIDE, "pinecone")
        with self._told():
            self._index = _client(key, f"{parts.scheme}://{host}")
            try:
                self._dimension = int(self._index.describe_index_stats().dimension or 0)
            except BaseException:
                self.close()
                raise

    def create(self, collection: str, vectors: Floats, threads: int) -> None:  # noqa: ARG002 - the calls wait, not we
        count, dimension = vectors.shape
        if self._dimension not in (0, dimension):
            raise VersionError(
                f"index.engine: the index of Pinecone has dimension {self._dimension}, and {dimension} is needed"
            )
        step = min(max(_STEP_BYTES // (dimension * 10), 1), 1000)

        def send(start: int) -> None:
            part = enumerate(_not_zero(vectors[start : start + step]).tolist(), start)
            self._index.upsert(vectors=[(str(node), vector) for node, vector in part], namespace=collection)

        with self._told():
            list(self._calls.map(send, range(0, count, step)))
            wait_until_found("pinecone", count, lambda: self._count(collection), _VISIBLE_S)

    def _count(self, collection: str) -> int:
        namespace = self._index.describe_index_stats().namespaces.get(collection)
        return 0 if namespace is None else int(namespace.vector_count or 0)

    def search(self, collection: str, queries: Floats, k: int, ef_search: int) -> tuple[Rows, Floats]:  # noqa: ARG002
        def ask(query: list[float]) -> Any:
            return self._index.query(vector=query, top_k=k, namespace=collection, include_values=False).matches

        nodes = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        with self._told():
            for line, near in enumerate(self._calls.map(ask, _not_zero(queries).tolist())):
                nodes[line, : len(near)] = [int(match.id) for match in near]
                scores[line, : len(near)] = [match.score for match in near]
        return nodes, scores

    def drop(self, collection: str) -> None:
        from pinecone import NotFoundError  # noqa: PLC0415 - see `base.Engine`

        with self._told():
            try:
                self._index.delete(delete_all=True, namespace=collection)
            except NotFoundError:
                return

    def close(self) -> None:
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._index.close()

    def _told(self) -> Any:
        from pinecone import PineconeError  # noqa: PLC0415

        return one_line("pinecone", self._url, (PineconeError, OSError))


def _not_zero(vectors: Floats) -> Floats:
    """Pinecone refuses vectors of zeros alone."""
    zeros = ~(np.abs(vectors) >= _LEAST).any(axis=1)
    if not zeros.any():
        return vectors
    vectors = vectors.copy()
    vectors[zeros, 0] = _LEAST
    return vectors


def _client(key: str, host: str) -> Any:
    """Of the index at this host. It tries nothing twice: that would take longer than a search may. Certificates, which
    take 60 ms to read, are read where the host has one.
    """
    from pinecone import Pinecone as Client  # noqa: PLC0415
    from pinecone import RetryConfig  # noqa: PLC0415

    certified = not host.startswith("http://")
    client = Client(api_key=key, timeout=PATIENCE_S, retry_config=RetryConfig(max_retries=0), ssl_verify=certified)
    return client.index(host=host)


def connect(spec: Spec) -> Pinecone:
    """Raises Unavailable when the service cannot be reached, or refuses the key."""
    return Pinecone(spec)


_engine = StoreEngine(connect)
create, load = _engine.create, _engine.load
