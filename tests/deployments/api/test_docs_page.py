"""The page at /docs: complete without a network, and open where keys are asked for."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.api_keys import new_key
from recsys.access.gate import Gate
from recsys.config.security import Security


class Page(HTMLParser):
    """What a page loads, and whether scripts stand in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline = ""
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inline += "".join(value or "" for name, value in attrs if name.startswith("on"))

    def handle_data(self, data: str) -> None:
        self.inline += data.strip() if self._in_script else ""


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_page_loads_nothing_from_elsewhere(standing_http: httpx.AsyncClient) -> None:
    """Its scripts, styles and pictures lie here, and its policy lets it load no others."""
    answer = await standing_http.get("/docs")
    page = Page(answer.text)
    assert answer.headers["content-type"].startswith("text/html")
    assert len(page.loads) == 4
    assert page.inline == ""
    for path in page.loads:
        assert not re.match(r"(https?:)?//|/", path), path
        asset = await standing_http.get(f"/{path}")
        assert asset.status_code == 200
        assert len(asset.content) > 100
        assert asset.headers["x-content-type-options"] == "nosniff"
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "http" not in answer.headers["content-security-policy"]
    assert "cdn" not in (await standing_http.get("/docs/start.js")).text


async def test_the_page_shows_the_description_that_is_there(standing_http: httpx.AsyncClient) -> None:
    """Relative to itself, as behind a prefix; its own paths are no part of the description."""
    [url] = re.findall(r'url: "([^"]+)"', (await standing_http.get("/docs/start.js")).text)
    paths = (await standing_http.get(f"/{url}")).json()["paths"]
    assert "/v1/events" in paths
    assert not any(path.startswith("/docs") for path in paths)


async def test_what_is_no_call_leads_to_a_page_that_is_there(standing_http: httpx.AsyncClient) -> None:
    [path] = re.findall(r"listed at (/\w+)", (await standing_http.get("/v1/nothing")).json()["detail"])
    assert (await standing_http.get(path)).status_code == 200
    for gone in ("/redoc", "/docs/oauth2-redirect", "/docs/", "/docs/redoc.standalone.js"):
        assert (await standing_http.get(gone)).status_code == 404, gone


async def test_the_page_is_open_where_keys_are_asked_for(standing_http: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what the program can do, and nothing of what it holds; next to it everything is closed."""
    _, digest = new_key()
    monkeypatch.setenv("RECSYS_API_KEYS", f"keys: [{{name: shop, sha256: {digest}, scopes: [read]}}]")
    gate = Gate()
    await gate.configure(Security())
    front = make_api(standing_http.world.gateway, gate, Traces("r"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=front), base_url="http://shop.example") as asking:
        for path in ("/docs", *(f"/{path}" for path in Page((await asking.get("/docs")).text).loads), "/openapi.json"):
            assert (await asking.get(path)).status_code == 200, path
        for path in ("/docs/other.js", "/v1/status", "/docs/swagger-ui.css/x"):
            assert (await asking.get(path)).status_code == 401, path
