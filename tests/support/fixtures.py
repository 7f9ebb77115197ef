"""What the tests of the domain share: a real Valkey, and platforms in one process."""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.config.index import IndexSpec
from recsys.serving import evidence, held_version, item_calls, left_out, shard_replica
from recsys.state import redis_keys, slate_stream
from recsys.state.connection import connect
from recsys.transport.channel import Channel
from recsys.versions.store import VersionStore
from tests.support.clock import Clock
from tests.support.late_routes import make_routes_late
from tests.support.lesson import Lesson
from tests.support.own_valkey import Valkey
from tests.support.stores import Running, missing
from tests.support.world import World, eventually

# A slow machine must not fail a test: no example has a deadline. Examples are the same in every run: more of them would
# find no more tomorrow than today.
settings.register_profile(
    "recsys",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("recsys")


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """Limits of the platform that a slow machine may reach are long, where they matter only when something fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_calls, "VISIBLE_WITHIN_S", 60.0)
        patch.setattr(evidence, "LOOKUP_S", 20.0)
        patch.setattr(left_out, "LOOKUP_S", 20.0)
        patch.setattr(shard_replica, "READ_UP_S", 20.0)
        patch.setattr(Channel.__init__, "__defaults__", (20.0,))  # `connect_s`
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_power_failures() -> Iterator[None]:
    """No test takes the power away, so none has this process wait for the disk. A file that was written is what every
    process reads, killed or not.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _late_routes() -> Iterator[None]:
    """Making all of them takes an API as long as starting the platform behind it."""
    with pytest.MonkeyPatch.context() as patch:
        make_routes_late(patch)
        yield


@pytest.fixture
def seeded() -> None:
    """What the platform draws at random is the same in every run, such as the searches that a replica measures."""
    random.seed(7)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """To be named before `make_world`, which goes by it to the end."""
    clock = Clock()
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, clock.moved(getattr(time, name)))
    return clock


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    server = Valkey()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    """Of `people`, for tests that need a trained model and change nothing of it."""
    return Lesson.learned(VersionStore(tmp_path_factory.mktemp("lesson")))


@pytest.fixture(scope="session")
def store_servers() -> Iterator[Running]:
    running = Running()
    yield running
    running.remove()


@pytest.fixture
def open_engine(store_servers: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Have what an engine needs: its server, if it has one, runs, and the environment says where. Gives the server.

    The test is skipped where a package is not installed.
    """

    def open_it(name: str, dimension: int = 16) -> Any:
        spec = IndexSpec.of(name)
        if lacking := missing(name):
            pytest.skip(f"{name} needs {', '.join(lacking)}")
        if not spec.server:
            return None
        server = store_servers.of(name, dimension)
        monkeypatch.setenv(spec.url_variable, server.url)
        return server

    return open_it


@pytest.fixture
async def redis(shared_valkey: Valkey) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    client = connect(shared_valkey.url, timeout_s=20)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server that the test may stop."""
    server = Valkey()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def own_redis(own_valkey: Valkey) -> AsyncIterator[Redis]:
    """A client of a server that the test may stop; to be named before `make_world`, which needs it to the end."""
    client = connect(own_valkey.url, timeout_s=20)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def first_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `World`."""
    return tmp_path_factory.mktemp("first-versions")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that nobody serves are dropped soon, so that a test sees whether they are dropped at all."""
    monkeypatch.setattr(held_version, "LINGER_S", 0.3)
    monkeypatch.setattr(held_version, "WITHDRAWN_S", 0.3)


@pytest.fixture
def short_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots of the log of answers are over soon."""
    monkeypatch.setattr(slate_stream, "SLOT_MS", 50)


@pytest.fixture
async def make_world(
    request: pytest.FixtureRequest, tmp_path: Path, redis: Redis, first_versions: Path
) -> AsyncIterator[Callable[..., Any]]:
    """Starts platforms in this process; what was started is stopped after the test."""
    names = request.fixturenames  # those of the test come first, as it names them
    first = next(number for number, name in enumerate(names) if name.startswith(("make_", "world")))
    late = {"clock", "own_redis"} & set(names[first:])
    assert not late, f"{late} would end before the platforms: name it before what starts them"
    async with AsyncExitStack() as started:

        async def make(**options: Any) -> World:
            given = {"root": tmp_path / "versions", "redis": redis, "first_versions": first_versions} | options
            return await started.enter_async_context(World(**given))

        yield make


@pytest.fixture
async def make_http(make_world: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Starts a platform in this process, and gives a client of its whole HTTP API, with the platform as `world`."""
    async with AsyncExitStack() as started:

        async def make(**options: Any) -> Any:
            world = await make_world(**({"shards": 1} | options))
            return await started.enter_async_context(_client(world))

        yield make


@asynccontextmanager
async def _standing(folders: pytest.TempPathFactory, first_versions: Path, shards: int) -> AsyncIterator[World]:
    """In a Valkey of its own: that of all tests is emptied before each."""
    server = Valkey()
    server.start()
    try:
        async with (
            connect(server.url, timeout_s=20) as redis,
            World(
                folders.mktemp("standing") / "versions", redis, shards=shards, first_versions=first_versions
            ) as world,
        ):
            assert await eventually(lambda: redis.exists(redis_keys.LAYOUTS))  # the last of what it writes by itself
            before = set(await redis.keys())
            yield world
            written = set(await redis.keys()) - before
            assert not written, f"a test has written into the platform that others only ask: {written}"
    finally:
        server.remove()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_world(tmp_path_factory: pytest.TempPathFactory, first_versions: Path) -> AsyncIterator[World]:
    """A platform in this process for all tests of a file that only ask, and change nothing of it. They stand one behind
    another and are marked `asyncio(loop_scope="module")`: its loop stands still while other tests run.
    """
    async with _standing(tmp_path_factory, first_versions, 2) as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_http(tmp_path_factory: pytest.TempPathFactory, first_versions: Path) -> AsyncIterator[Any]:
    """As `make_http`, for all tests of a file that change nothing: see `standing_world`."""
    async with _standing(tmp_path_factory, first_versions, 1) as world, _client(world) as http:
        yield http


def _client(world: World) -> Any:
    front = make_api(world.gateway, Gate(), Traces("r"))
    transport = httpx.ASGITransport(app=front, raise_app_exceptions=False)
    http: Any = httpx.AsyncClient(transport=transport, base_url="http://localhost")
    http.world, http.front = world, front
    return http
