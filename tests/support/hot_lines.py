"""Callers of a platform in this process whose connections may be hot lines, as HAProxy keeps them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from deployments.api.app import make_api
from deployments.api.hot_requests import HotRequests
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from tests.support.served_api import port_of, serve
from tests.support.world import World

PATH = "/v1/users/u/recommendations"

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


def get(path: str = PATH, *headers: str, host: str = "localhost") -> bytes:
    """A request as HAProxy writes it."""
    lines = [f"GET {path} HTTP/1.1", f"host: {host}", "user-agent: a b", "x-request-id: r-1", *headers]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def told(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """An answer without what is of its moment."""
    status, headers, body = answer
    content = orjson.loads(re.sub(rb"(\d\.\d{4})\d+", rb"\1", body))
    content.pop("took_ms", None)
    timing = re.sub(r"[\d.]+", "0", headers.get("server-timing", ""))
    moment = {"date", "content-length", "server-timing"}
    return status, {k: v for k, v in headers.items() if k not in moment} | {"timing": timing}, content


class Connection:
    """A caller's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> Answer:
        """The next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)).decode()
        status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def ask(self, request: bytes) -> Answer:
        self.writer.write(request)
        return await self.answer()

    async def ended(self) -> bool:
        """Whether the server closes the connection, with nothing more to say."""
        return await asyncio.wait_for(self.reader.read(), 30) == b""


class HotLines:
    """A platform in this process behind a uvicorn. `taken`: users whose requests were answered past it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.gate, self.taken = world, Gate(), list[str]()
        self.connections: list[Connection] = []
        plain, taken = HotRequests.take, self.taken

        def take(self: HotRequests, line: Any, user: str, *more: Any) -> bool:
            if plain(self, line, user, *more):
                taken.append(user)
                return True
            return False

        monkeypatch.setattr(HotRequests, "take", take)

    @asynccontextmanager
    async def serve(self, *, lines: bool, keep_alive_s: int) -> AsyncIterator[None]:
        """`lines`: whether connections may be hot lines."""
        options = {"log_level": "critical", "access_log": False, "timeout_keep_alive": keep_alive_s}
        front = make_api(self.world.gateway, self.gate, Traces("r"))
        async with serve(front, http="httptools" if lines else "h11", **options) as self.server:
            yield
            for connection in self.connections:
                connection.writer.close()

    async def connect(self) -> Connection:
        """A connection over which nothing has come."""
        self.connections.append(Connection(*await asyncio.open_connection("127.0.0.1", port_of(self.server))))
        return self.connections[-1]

    async def line(self) -> Connection:
        """A connection over which the hot call has come once."""
        connection = await self.connect()
        await connection.ask(get())
        return connection
