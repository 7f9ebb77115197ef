"""PostgreSQL with pgvector: a table for each shard of a version, with an HNSW index on it.

https://github.com/pgvector/pgvector. The URL is libpq's: `postgresql://user:password@host:5432/database?sslmode=require`.
The user needs the right to create tables in the schema, and the extension `vector` in the database: 0.8 or later, whose
index scans go on until there are enough rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from recsys.datatypes import Floats, Rows
from recsys.errors import Unavailable, VersionError
from recsys.index.base import NO_ROW
from recsys.index.store_client import PATIENCE_S, StoreSpec, one_line
from recsys.index.stored import StoreEngine

if TYPE_CHECKING:
    import psycopg

_OLDEST = (0, 8)
"""Version of pgvector that has iterative index scans."""
_WIDEST = 2000
"""Dimensions that pgvector indexes at the most."""
_PAGE = 1900
"""Dimensions of a vector that surely fits into a page of PostgreSQL, 8 KiB, and so needs no table beside its own."""
_MOST_EF_SEARCH = 1000
"""The most that pgvector takes."""
_MEMORY = 1 << 30
"""Bytes that building an index may take of the server at the most."""


class Spec(StoreSpec):
    engine: str = "pgvector"
    url_variable: str = Field("RECSYS_PGVECTOR_URL", pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    """The environment variable that holds PostgreSQL's URL."""
    m: int = Field(16, ge=4, le=100)
    """Links a node."""
    ef_construction: int = Field(200, ge=8, le=1000)
    """Candidates kept while building, at least twice `m`; more is slower to build and better to search."""

    needs: ClassVar[tuple[str, ...]] = ("psycopg", "pgvector")

    @property
    def words(self) -> str:
        return f"pgvector m {self.m} ef_construction {self.ef_construction}"


class Postgres:
    """A `store_client.Store`. Every search takes a connection for itself."""

    widest = 1 << 20

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._url = spec.url()
        self._idle: LifoQueue[tuple[psycopg.Connection[Any], dict[str, int]]] = LifoQueue()
        """Connections that nobody uses, and what they are set to."""
        with self._connection():
            pass

    def create(self, collection: str, vectors: Floats, threads: int) -> None:
        count, dimension = vectors.shape
        if dimension > _WIDEST:
            raise VersionError(f"index.engine: pgvector indexes up to {_WIDEST} dimensions, and these are {dimension}")
        spec = self._spec
        with self._connection() as (connection, _), connection.transaction():
            connection.execute(
                f"CREATE TABLE {collection} (node integer PRIMARY KEY, vector vector({dimension}) NOT NULL)"
            )
            if dimension <= _PAGE:
                connection.execute(f"ALTER TABLE {collection} ALTER vector SET STORAGE PLAIN")
            with connection.cursor().copy(f"COPY {collection} (node, vector) FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "vector"])
                for node, vector in enumerate(vectors):
                    copy.write_row((node, vector))
            # An index is built in memory: PostgreSQL's own 64 MB would be too little for 20,000 vectors.
            memory = min(count * (dimension * 4 + spec.m * 32 + 200) * 5 // 4 + (64 << 20), _MEMORY)
            connection.execute(f"SET LOCAL maintenance_work_mem = '{memory >> 10} kB'")
            connection.execute(f"SET LOCAL max_parallel_maintenance_workers = {threads - 1}")
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute(
                f"CREATE INDEX ON {collection} USING hnsw (vector vector_ip_ops)"
                f" WITH (m = {spec.m}, ef_construction = {max(spec.ef_construction, 2 * spec.m)})"
            )
            connection.execute(f"ANALYZE {collection}")

    def search(self, collection: str, queries: Floats, k: int, ef_search: int) -> tuple[Rows, Floats]:
        """All queries in one statement."""
        nodes = np.full((len(queries), k), NO_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        with self._connection() as (connection, now):
            effort = min(max(ef_search, k), _MOST_EF_SEARCH)
            if now.get("ef_search") != effort:
                connection.execute(f"SET hnsw.ef_search = {effort}")
                now["ef_search"] = effort
            rows = connection.execute(statement(collection), (list(queries), k), binary=True).fetchall()
        if rows:
            line, near, distance = (np.array(column) for column in zip(*rows, strict=True))
            order = np.lexsort((near, distance, line))
            line, near, distance = line[order] - 1, near[order], distance[order]
            place = np.arange(len(line)) - np.searchsorted(line, line)
            nodes[line, place], scores[line, place] = near, -distance
        return nodes, scores

    def drop(self, collection: str) -> None:
        with self._connection() as (connection, _):
            connection.execute(f"DROP TABLE IF EXISTS {collection}")

    def close(self) -> None:
        while True:
            try:
                self._idle.get_nowait()[0].close()
            except Empty:
                return

    @contextmanager
    def _connection(self) -> Iterator[tuple[psycopg.Connection[Any], dict[str, int]]]:
        """One that is idle or new, and what it is set to. It is closed when what is done with it fails."""
        import psycopg  # noqa: PLC0415 - see `base.Engine`

        with one_line("pgvector", self._url, (psycopg.Error, OSError)):
            try:
                idle = self._idle.get_nowait()
            except Empty:
                idle = self._new(), {}
            try:
                yield idle
            except BaseException:
                idle[0].close()
                raise
            self._idle.put(idle)

    def _new(self) -> psycopg.Connection[Any]:
        import psycopg  # noqa: PLC0415
        from pgvector.psycopg import register_vector  # noqa: PLC0415

        connection = psycopg.connect(
            self._url, autocommit=True, connect_timeout=int(PATIENCE_S), application_name="recsys"
        )
        try:
            self._check(connection)
            register_vector(connection)
            connection.execute(f"SET statement_timeout = {int(PATIENCE_S * 1000)}")
            connection.execute("SET hnsw.iterative_scan = strict_order")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        """Have the extension, which a superuser may create. Raises Unavailable when it is missing or too old."""
        statement = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        if connection.execute(statement).fetchone() is None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        version = str((connection.execute(statement).fetchone() or ("0",))[0])
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST:
            raise Unavailable(f"the store of pgvector has version {version} of the extension; it needs 0.8 or later")


def statement(collection: str) -> str:
    """Takes (m, d) queries and k. Gives line, node and distance of each neighbour."""
    return (
        "SELECT query.line, near.node, near.distance FROM unnest(%s) WITH ORDINALITY AS query (vector, line),"  # noqa: S608 - the name of a table is ours
        f" LATERAL (SELECT node, vector <#> query.vector AS distance FROM {collection}"
        " ORDER BY vector <#> query.vector LIMIT %s) AS near"
    )


def connect(spec: Spec) -> Postgres:
    """Raises Unavailable when the server is away, or refuses the credentials."""
    return Postgres(spec)


_engine = StoreEngine(connect)
create, load = _engine.create, _engine.load
