"""What only an engine with a server of its own can get wrong: it is away, hangs, refuses, and keeps what is left."""

from __future__ import annotations

import logging
import time
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.errors import Unavailable, VersionError
from recsys.index import base, stored
from recsys.index.base import NO_ROW, check, engine
from recsys.index.pgvector import statement
from recsys.shard.snapshot import drop_index
from tests.support.stores import SERVERS
from tests.support.world import unit_rows

DIMENSION = 16
GONE = "http://user:s3cret@127.0.0.1:9"
"""The URL of a server that is not there: nothing listens on the port `discard`."""
VECTORS = unit_rows(np.random.default_rng(0).standard_normal((300, DIMENSION)))


@pytest.fixture(params=SERVERS)
def name(request) -> str:
    return request.param


@pytest.fixture
def server(name, open_engine):
    return open_engine(name)


def gone(name: str) -> str:
    return GONE.replace("http", "postgresql") if name == "pgvector" else GONE


def built(name: str, tmp_path, **settings):
    """An index of VECTORS as a version has it: built, saved and loaded."""
    spec = IndexSpec.of(name, **settings)
    index = engine(spec).create(spec, DIMENSION)
    index.add(np.arange(len(VECTORS)), VECTORS)
    tmp_path.mkdir(exist_ok=True)
    index.save(tmp_path / "index.bin")
    return engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)


def test_a_build_makes_a_collection_and_its_version_takes_it_along(name, server, tmp_path):
    """One for each index, with the prefix that is set; who drops it twice is not told off."""
    before = server.collections()
    index = built(name, tmp_path, prefix="shop")
    [collection] = server.collections() - before
    assert collection.startswith("shop_")
    index.add(np.array([1000]), -VECTORS[:1])
    assert index.search(-VECTORS[:1], 1)[0].tolist() == [[1000]]
    assert server.collections() == before | {collection}
    drop_index(tmp_path)
    assert server.collections() == before
    drop_index(tmp_path)
    drop_index(tmp_path / "nothing")


def test_a_build_that_cannot_go_on_leaves_nothing(name, server, monkeypatch):
    """When the vectors do not get there, the collection that was begun is dropped."""
    before = server.collections()
    spec = IndexSpec.of(name)
    connected = engine(spec).connect(spec)
    connected.close()
    store, create = type(connected), type(connected).create

    def broken(self, collection, vectors, threads):
        create(self, collection, vectors, threads)
        raise Unavailable("the line is cut")

    monkeypatch.setattr(store, "create", broken)
    with pytest.raises(Unavailable, match="the line is cut"):
        engine(spec).create(spec, DIMENSION).add(np.arange(300), VECTORS)
    assert server.collections() == before


def test_a_server_that_is_not_there_is_told_before_a_build(name, open_engine, monkeypatch):
    """In one line, which names the engine and nothing of the credentials."""
    open_engine(name)
    spec = IndexSpec.of(name)
    monkeypatch.setenv(spec.url_variable, gone(name))
    with pytest.raises(Unavailable, match=f"the store of {name}: ") as error:
        check(spec)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("name", ["pgvector", "pinecone"])  # Milvus Lite asks for no password
def test_wrong_credentials_are_told_before_a_build(name, server, monkeypatch):
    spec = IndexSpec.of(name)
    monkeypatch.setenv(spec.url_variable, server.wrong())
    with pytest.raises(Unavailable, match=f"the store of {name}: ") as error:
        check(spec)
    assert "\n" not in str(error.value)
    assert "wr" not in str(error.value).replace("wrong", "")
    assert server.wrong() not in str(error.value)


def test_a_url_that_nothing_says_is_told_before_a_build(name, open_engine, monkeypatch, tmp_path):
    """With the variable, or the file, that holds it."""
    open_engine(name)
    spec = IndexSpec.of(name)
    monkeypatch.delenv(spec.url_variable)
    with pytest.raises(Unavailable, match=rf"index.engine {name}: \${spec.url_variable} is not set"):
        check(spec)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match=r"index.url_file: store.url cannot be read: No such file"):
        check(IndexSpec.of(name, url_file="store.url"))


def test_the_url_may_stand_in_a_file(name, server, monkeypatch, tmp_path):
    """As secrets are mounted; the variable is not looked at then."""
    (tmp_path / "store.url").write_text(server.url + "\n")
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv(IndexSpec.of(name).url_variable)
    index = built(name, tmp_path / "shard", url_file="store.url")
    assert index.search(VECTORS[:1], 1)[0].tolist() == [[0]]


def test_credentials_are_in_no_file_of_a_version(name, server, tmp_path):
    """Nor in the spec, which the manifest keeps: they say where to read the URL."""
    built(name, tmp_path)
    for file in tmp_path.iterdir():
        assert server.url.encode() not in file.read_bytes()
        assert (
            server.url.rpartition("@")[0].rpartition("//")[2].encode() not in file.read_bytes() or "@" not in server.url
        )
    assert "@" not in IndexSpec.of(name).model_dump_json()


def test_a_replica_starts_without_its_store(name, open_engine, monkeypatch, tmp_path, caplog):
    """A search finds nothing and says why, once; when the store is there again it answers as ever."""
    monkeypatch.setattr(stored, "PAUSE_S", 0.05)
    server = open_engine(name)
    index = built(name, tmp_path, timeout_s=10)
    index.add(np.array([1000]), -VECTORS[:1])
    variable = IndexSpec.of(name).url_variable
    monkeypatch.setenv(variable, gone(name))
    index.hurry()
    with caplog.at_level(logging.INFO, "recsys"):
        for _ in range(3):
            rows, scores = index.search(VECTORS[:2], 5)
            assert (rows == NO_ROW).all()
            assert (scores == -np.inf).all()
            assert f"of {name}" in index.away
        monkeypatch.setenv(variable, server.url)
        wait_for(lambda: index.search(VECTORS[:2], 5)[0][:, 0].tolist() == [0, 1])
    assert index.away == ""
    levels = [record.levelname for record in caplog.records if record.name == "recsys.index.stored"]
    assert levels == ["WARNING", "INFO"]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("name", ["pgvector", "milvus"])
def test_a_server_that_hangs_holds_nobody_up(name, server, monkeypatch, tmp_path):
    """A search gives up after `timeout_s` and says so; when the server goes on, so do its answers."""
    index = built(name, tmp_path, timeout_s=1)
    index.tune(ShardTuning())
    assert index.search(VECTORS[:1], 1)[0].tolist() == [[0]]
    index.hurry()
    with server.hanging():
        for _ in range(5):
            assert (index.search(VECTORS[:1], 1)[0] == NO_ROW).all()
        assert index.away == f"the store of {name} does not answer within 1 s"
    wait_for(lambda: index.search(VECTORS[:1], 1)[0].tolist() == [[0]])


def test_what_was_dropped_is_away(name, server, tmp_path):
    """Somebody deletes a collection that is served: the shard is told, and no error reaches a request."""
    index = built(name, tmp_path)
    drop_index(tmp_path)
    assert (index.search(VECTORS[:1], 1)[0] == NO_ROW).all()
    assert f"of {name}" in index.away


def test_a_dimension_that_does_not_fit_is_refused(name, server, tmp_path):
    """It says both."""
    built(name, tmp_path)
    spec = IndexSpec.of(name)
    with pytest.raises(VersionError, match="dimension 16, and 8 is needed"):
        engine(spec).load(tmp_path / "index.bin", spec, 8)


def test_answers_stay_full_among_many_that_were_removed(name, server, tmp_path):
    """Of the 280 nearest of a query all are gone: the store is asked for more until there are enough."""
    index = built(name, tmp_path)
    order = np.argsort(-(VECTORS @ VECTORS[0]))
    index.remove(order[:280])
    assert index.search(VECTORS[:1], 10)[0].tolist() == [order[280:290].tolist()]


def test_a_connection_to_milvus_is_its_own_and_ends_with_it(open_engine):
    """pymilvus would share one in all of the process, and keep it. What ends a shared one ends the calls of all."""
    server = open_engine("milvus")
    port, spec = urlsplit(server.url).port, IndexSpec.of("milvus")

    def connections() -> int:
        every = psutil.Process().net_connections("tcp")
        return sum(c.status == psutil.CONN_ESTABLISHED and c.raddr.port == port for c in every if c.raddr)

    before = connections()
    stores = [engine(spec).connect(spec) for _ in range(2)]
    assert connections() == before + 2
    for store in stores:
        store.close()
    wait_for(lambda: connections() == before)


def test_an_extra_that_is_missing_is_named(monkeypatch):
    """With the command that installs it, before anything is built."""
    monkeypatch.setattr(base, "find_spec", lambda _: None)
    with pytest.raises(VersionError, match=r"index.engine milvus needs pymilvus, .* pip install 'recsys\[milvus\]'"):
        check(IndexSpec.of("milvus"))


def test_pgvector_walks_its_index_and_has_a_limit_of_dimensions(open_engine, tmp_path):
    """Many vectors: the plan names the index, for every query of a batch; 2,001 dimensions are refused in words."""
    server = open_engine("pgvector")
    spec = IndexSpec.of("pgvector")
    vectors = unit_rows(np.random.default_rng(1).standard_normal((5000, DIMENSION)))
    before = server.collections()
    index = engine(spec).create(spec, DIMENSION)
    index.add(np.arange(len(vectors)), vectors)
    [table] = server.collections() - before
    psycopg, adapters = pytest.importorskip("psycopg"), pytest.importorskip("pgvector.psycopg")
    with psycopg.connect(server.url) as connection:
        adapters.register_vector(connection)
        plan = connection.execute("EXPLAIN " + statement(table), (list(vectors[:4]), 10)).fetchall()
    assert any("Index Scan using" in line[0] for line in plan)
    with pytest.raises(VersionError, match="pgvector indexes up to 2000 dimensions, and these are 2001"):
        engine(spec).create(spec, 2001).add(np.arange(2), np.eye(2, 2001, dtype=np.float32))


def wait_for(what) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
