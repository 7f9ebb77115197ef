"""The command line's client of an API in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from deployments.cli.client import Client


class ClientHere(Client):
    """A client of an app in this process, whose calls come from other threads than its event loop's."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        super().__init__("http://localhost")
        self._app = http
        self._loop = asyncio.get_running_loop()

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        request = self._app.request(method, path, content=content, params=query, headers=headers)
        answer: dict[str, Any] = asyncio.run_coroutine_threadsafe(request, self._loop).result(60).json()
        return answer
