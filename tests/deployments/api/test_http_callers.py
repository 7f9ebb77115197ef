"""Callers that left, callers that drip, callers from elsewhere: over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployments.api import callers, hot_requests
from deployments.api.app import make_api
from deployments.api.callers import HttpCaller, age_s
from deployments.api.hot_line import put_before
from deployments.api.traces import Traces
from deployments.ray_internals.loopback.haproxy import haproxy_script
from recsys.access.gate import Gate
from recsys.config.platform import Ports
from recsys.config.serving import Limits, Serving
from tests.support.ports import free_port
from tests.support.served_api import HeldSearches, port_of, serve
from tests.support.world import World, eventually

RECOMMEND = "/v1/users/u/recommendations"


def stamped(age_s: float, machine: str | None = None) -> str:
    """HAProxy's note of a request that it read so many seconds ago."""
    return f"t={int((time.time() - age_s) * 1e6)},{machine or socket.gethostname()}"


class Served:
    """A platform in this process behind a real uvicorn."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.port = port

    async def ask(self, path: str = RECOMMEND, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A GET whose answer is not waited for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"GET {path} HTTP/1.1", "host: localhost", "x-request-id: r", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        return reader, writer


class Lined(HttpToolsProtocol):
    """A connection that is a hot line from its first request on."""

    take: Any

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        put_before(self, self.take, tells_id=False)


@pytest.fixture(params=["h11", "httptools", "hot line"])
async def make_served(request: pytest.FixtureRequest, make_world: Callable[..., Any]) -> AsyncIterator[Any]:
    async with contextlib.AsyncExitStack() as started:

        async def make(**options: Any) -> Served:
            world = await make_world(**({"shards": 1} | options))
            front = make_api(world.gateway, Gate(), Traces("r"))
            lined = request.param == "hot line"
            parser = (
                type("Parser", (Lined,), {"take": staticmethod(front.hot_requests.take)}) if lined else request.param
            )
            serving = serve(front, http=parser, log_level="error", access_log=not lined)
            return Served(world, port_of(await started.enter_async_context(serving)))

        yield make


async def leave(connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in connections:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_an_answered_request_leaves_nothing_to_the_garbage_collector(make_served):
    """A request and what it holds are free when it is answered, and not when the collector comes by."""
    served = await make_served()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        await client.get(RECOMMEND)
        gc.disable()
        gc.collect(0)
        try:
            for _ in range(20):
                assert (await client.get(RECOMMEND)).status_code == 200
            left = exchanges()
        finally:
            gc.enable()
    assert left <= 2  # a connection keeps its last one


def exchanges() -> int:
    """Requests of uvicorn that came since the collector's last look, and are still in memory."""
    return sum(type(thing).__name__ == "RequestResponseCycle" for thing in gc.get_objects(generation=0))


async def test_the_hottest_answer_leaves_in_one_write(make_served, monkeypatch):
    """Head and body together, on a connection that is kept as on one that the caller wants closed."""
    served, writes = await make_served(), []
    _, line = await asyncio.open_connection("127.0.0.1", served.port)
    transport = type(line.transport)
    line.close()
    plain = transport.write

    def write(self: Any, data: bytes) -> None:
        if self.get_extra_info("sockname") == ("127.0.0.1", served.port):  # and not what goes to Redis
            writes.append(bytes(data))
        plain(self, data)

    monkeypatch.setattr(transport, "write", write)
    for connection in ("keep-alive", "close"):
        writes.clear()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
            answer = await client.get(RECOMMEND, headers={"connection": connection})
        assert len(writes) == 1
        assert writes[0].startswith(b"HTTP/1.1 200")
        assert writes[0].endswith(b"\r\n\r\n" + answer.content)
        assert answer.json()["items"]


async def test_nothing_is_searched_for_callers_that_have_left(make_served):
    """Hundreds leave while batches are under way: the next caller is in the next batch, and none of them in any."""
    served = await make_served(serving=Serving(budget_s=20, max_waiting=300))
    gateway, held = served.world.gateway, HeldSearches(served.world)
    first = [await served.ask(f"/v1/users/{n}/recommendations") for n in range(2)]
    assert await eventually(lambda: held.waiting == 2)  # as many as may be under way
    crowd = [await served.ask(f"/v1/users/{n}/recommendations") for n in range(290)]
    assert await eventually(lambda: len(gateway.slates) == 290)
    await leave(crowd)
    reader, writer = await served.ask()
    # Reading `oldest_s`, as the platform's pulse does, drops those that have left; no batch has to end for it.
    assert await eventually(lambda: gateway.slates.oldest_s > 0 and gateway.slates.given_up["gone"] == 290)
    held.let_go()
    assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 200")
    assert held.waiting == 3
    assert gateway.slates.given_up == {"gone": 290}
    await leave([*first, (reader, writer)])


async def test_a_full_queue_of_callers_that_have_left_has_room(make_served):
    """429 is for callers who wait behind others, not behind nobody."""
    served = await make_served(serving=Serving(budget_s=20, max_waiting=20))
    gateway, held = served.world.gateway, HeldSearches(served.world)
    first = [await served.ask(f"/v1/users/{n}/recommendations") for n in range(2)]
    assert await eventually(lambda: held.waiting == 2)
    crowd = [await served.ask(f"/v1/users/{n}/recommendations") for n in range(30)]
    assert await eventually(lambda: len(gateway.slates) == 20)
    await leave(crowd)
    await asyncio.sleep(0.1)
    reader, writer = await served.ask()
    assert await eventually(lambda: gateway.slates.given_up["gone"] == 20)
    held.let_go()
    assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 200")
    await leave([*first, (reader, writer)])


async def test_the_budget_begins_when_haproxy_has_read_the_request(make_served):
    """What waited elsewhere for longer than the budget is told to come again; a stamp of another clock is not heard."""
    served = await make_served(serving=Serving(budget_s=20))
    for old_s, status in ((0.1, 200), (21, 429), (30, 429), (90, 200), (-30, 200)):
        reader, writer = await served.ask(RECOMMEND, f"x-request-start: {stamped(old_s)}")
        assert (await reader.readline()).split()[1] == b"%d" % status, old_s
        await leave([(reader, writer)])
    for stamp in ("t=", "t=soon", "-1", "t=1e999", stamped(30, "another"), f"t={int(time.time() - 30) * 1_000_000}"):
        reader, writer = await served.ask(RECOMMEND, f"x-request-start: {stamp}")
        assert (await reader.readline()).split()[1] == b"200"
        await leave([(reader, writer)])


async def test_a_body_that_drips_is_cut_off(make_served):
    """One byte now and then is progress, and still the whole body has its time."""
    served = await make_served(serving=Serving(budget_s=20, limits=Limits(body_s=0.5)))
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.setblocking(False)
        connection.send(
            b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 10000\r\n\r\n"
        )

        async def answered() -> bytes:
            """All of it, and no look behind it: the server resets a connection on which more bytes come. What came
            before that can still be read, which asyncio's streams do no more once they could not write."""
            answer = b""
            while not (said := re.search(rb"content-length: (\d+)\r\n(?s:.*?)\r\n\r\n", answer)) or (
                len(answer) < said.end() + int(said[1])
            ):
                answer += await loop.sock_recv(connection, 65_536)
            return answer

        answer = asyncio.create_task(answered())
        while not answer.done():
            with contextlib.suppress(ConnectionError):
                connection.send(b" ")
            await asyncio.wait([answer], timeout=0.05)
    head, _, body = (await answer).partition(b"\r\n\r\n")
    assert head.split()[1] == b"408"
    assert b'"body_timeout"' in body
    assert b"limits.body_s" in body


async def test_a_caller_that_stays_after_his_body_is_not_timed(clock, make_served):
    """The time is the body's, and not that of the answer."""
    served = await make_served(serving=Serving(budget_s=60, limits=Limits(body_s=10)))
    held = HeldSearches(served.world)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as http:
        asking = asyncio.create_task(http.post("/v1/recommendations", json={"k": 1}, timeout=300))
        assert await eventually(lambda: held.waiting)
        clock.forward(12)
        await asyncio.sleep(0.05)
        held.let_go()
        assert (await asking).status_code == 200


async def test_behind_haproxy_callers_that_leave_are_seen_and_requests_are_stamped(
    make_served, tmp_path: Path, monkeypatch
):
    """Our lines in HAProxy's configuration, as `recsys up` writes them, in front of a real server."""
    served = await make_served(serving=Serving(budget_s=20))
    port = free_port()
    config, script = tmp_path / "haproxy.cfg", tmp_path / "haproxy.sh"
    config.write_text(f"""\
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option abortonclose
frontend http_frontend
    bind 127.0.0.1:{port}
    acl healthcheck path -i /-/healthz
    default_backend b
backend b
    server s 127.0.0.1:{served.port}
""")
    script.write_text(haproxy_script(Ports(), port))
    script.chmod(0o700)
    gateway, heard = served.world.gateway, []
    for reader in (callers, hot_requests):
        monkeypatch.setattr(reader, "age_s", lambda stamp: heard.append(stamp) or age_s(stamp))
    proxy = subprocess.Popen([str(script), "-db", "-f", str(config)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - at once
    try:
        through = Served(served.world, port)

        async def answered() -> bool:
            try:
                reader, writer = await through.ask(RECOMMEND, "x-request-start: t=1")
            except OSError:
                return False
            line = await reader.readline()
            writer.close()
            return line.startswith(b"HTTP/1.1 200")

        assert await eventually(answered)
        assert heard[-1] != b"t=1"
        assert HttpCaller(asyncio.Event().wait, heard[-1]).since < time.monotonic()  # read here, a while ago
        held = HeldSearches(served.world)
        first = [await through.ask(f"/v1/users/{n}/recommendations") for n in range(2)]
        assert await eventually(lambda: held.waiting == 2)
        crowd = [await through.ask(f"/v1/users/{n}/recommendations") for n in range(50)]
        assert await eventually(lambda: len(gateway.slates) == 50)
        await leave(crowd)
        # HAProxy closes a connection once it sees that the caller's is closed; reading `oldest_s` drops the request.
        assert await eventually(lambda: gateway.slates.oldest_s == 0 and gateway.slates.given_up["gone"] == 50)
        held.let_go()
        assert await eventually(lambda: len(gateway.slates) == 0)
        assert gateway.slates.given_up == {"gone": 50}
        for reader, _ in first:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await leave(first)
    finally:
        proxy.kill()
        proxy.wait()


async def test_the_budget_begins_with_the_end_of_a_body_that_comes_slowly(make_served):
    served = await make_served(serving=Serving(budget_s=20))
    body = b'{"user_id": "u", "k": 3}'
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\nx-request-start: {stamped(30)}\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[:5])
    await asyncio.sleep(0.3)
    writer.write(body[5:])
    assert (await reader.readline()).split()[1] == b"200"
    await leave([(reader, writer)])
