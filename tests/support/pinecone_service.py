"""A stand-in for an index of Pinecone, over HTTP, by its published schema.

The schema is `db_data_2026-07.oas.yaml` of github.com/pinecone-io/pinecone-api. There are the calls `upsert`, `query`,
`delete` and `describe_index_stats`, their limits, and their errors: `rpcStatus`, and plain text where the key is wrong.
It answers exactly. What is upserted is seen by the statistics and by queries only some calls later, as in a service
that is consistent in the end.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import orjson

from recsys.datatypes import Floats

MOST_VECTORS, MOST_NEIGHBOURS, MOST_BYTES = 1000, 10_000, 2 << 20
INVALID, NOT_FOUND = 3, 5
"""Codes of gRPC, which `rpcStatus` carries."""


class PineconeService:
    """`key`: the API key that is taken. `lag`: calls after which an upsert is seen."""

    def __init__(self, dimension: int, key: str = "pcsk_test", lag: int = 2) -> None:
        self.dimension = dimension
        self.key = key
        self.namespaces: dict[str, dict[str, list[float]]] = {}
        self._tables: dict[str, tuple[list[str], Floats]] = {}
        """Ids and vectors of a namespace as they were last asked for; gone when it changes."""
        self._lag = lag
        self._waiting: list[tuple[int, str, dict[str, list[float]]]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{self.key}@127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if headers.get("Api-Key") != self.key:
            return 401, "Invalid API Key"
        if not headers.get("X-Pinecone-Api-Version"):
            return 400, _status(INVALID, "X-Pinecone-Api-Version is missing")
        if len(body) > MOST_BYTES:
            return 413, _status(INVALID, "the request is larger than 2 MB")
        call = {
            "/vectors/upsert": self._upsert,
            "/query": self._query,
            "/vectors/delete": self._delete,
            "/describe_index_stats": self._describe,
        }.get(path)
        if call is None:
            return 404, _status(NOT_FOUND, f"there is no {path}")
        with self._lock:
            self._reveal()
            return call(orjson.loads(body or b"{}"))

    def _reveal(self) -> None:
        """Writes become visible."""
        self._waiting = [(left - 1, name, rows) for left, name, rows in self._waiting]
        for _, name, rows in [each for each in self._waiting if each[0] < 0]:
            self.namespaces.setdefault(name, {}).update(rows)
            self._tables.pop(name, None)
        self._waiting = [each for each in self._waiting if each[0] >= 0]

    def _upsert(self, given: Any) -> tuple[int, Any]:
        rows = {row["id"]: row["values"] for row in given["vectors"]}
        if not 1 <= len(rows) <= MOST_VECTORS:
            return 400, _status(INVALID, f"{len(rows)} vectors; 1 to {MOST_VECTORS} are taken")
        for values in rows.values():
            if len(values) != self.dimension:
                return 400, _status(INVALID, f"Vector dimension {len(values)} does not match {self.dimension}")
            if max(map(abs, values)) < 1e-8:
                return 400, _status(INVALID, "Dense vectors must contain at least one non-zero value")
        self._waiting.append((self._lag, given.get("namespace", ""), rows))
        return 200, {"upsertedCount": len(rows)}

    def _query(self, given: Any) -> tuple[int, Any]:
        k, query = given["topK"], np.array(given["vector"], np.float32)
        if not 1 <= k <= MOST_NEIGHBOURS:
            return 400, _status(INVALID, f"topK {k}; 1 to {MOST_NEIGHBOURS} are taken")
        if len(query) != self.dimension:
            return 400, _status(INVALID, f"Vector dimension {len(query)} does not match {self.dimension}")
        name = given.get("namespace", "")
        if name not in self._tables:
            rows = self.namespaces.get(name, {})
            self._tables[name] = (list(rows), np.array(list(rows.values()), np.float32).reshape(-1, self.dimension))
        ids, vectors = self._tables[name]
        scores = vectors @ query
        order = np.argsort(-scores, kind="stable")[:k].tolist()
        matches = [{"id": ids[i], "score": float(scores[i]), "values": []} for i in order]
        return 200, {"results": [], "matches": matches, "namespace": name, "usage": {"readUnits": 5}}

    def _delete(self, given: Any) -> tuple[int, Any]:
        name = given.get("namespace", "")
        if name not in self.namespaces:
            return 404, _status(NOT_FOUND, "Namespace not found")
        self._tables.pop(name, None)
        if given.get("deleteAll"):
            del self.namespaces[name]
        for row in given.get("ids", ()):
            self.namespaces[name].pop(row, None)
        return 200, {}

    def _describe(self, given: Any) -> tuple[int, Any]:
        counts = {name: {"vectorCount": len(rows)} for name, rows in self.namespaces.items()}
        total = sum(each["vectorCount"] for each in counts.values())
        return 200, {
            "namespaces": counts, "dimension": self.dimension, "indexFullness": 0.0, "totalVectorCount": total,
            "metric": "dotproduct", "vectorType": "dense",
        }  # fmt: skip


def _status(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "details": []}


def _handler(service: PineconeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: a second one would wait for the first to be acknowledged
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = service.answer(self.path, self.headers, body)
            text = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            """Nothing is logged."""

    return Handler
