"""What the tests of traces share, and those of short ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI

from tests.support.traced_api import TracedApi


@pytest.fixture
async def make_api_of(make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds between two exports; 5,000 otherwise
    # Seconds for which a failed export is tried again, by a thread that draws its waits at random: it must end here.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with AsyncExitStack() as started:

        async def make(**options: Any) -> TracedApi:
            api = TracedApi(await make_world(**options))
            encode = api.world.encode
            api.world.encode = lambda v, texts: api.traces.call("encode", encode(v, texts))
            started.push_async_callback(api.traces.stop)
            await started.enter_async_context(api.http)
            return api

        yield make


@pytest.fixture
def of_fastapi(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods and paths of the requests that came to FastAPI."""
    came: list[str] = []
    plain = FastAPI.__call__

    async def noting(self: FastAPI, scope: Any, receive: Any, send: Any) -> None:
        came.append(f"{scope['method']} {scope['path']}")
        await plain(self, scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", noting)
    return came
