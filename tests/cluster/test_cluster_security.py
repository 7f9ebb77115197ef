"""API keys on the running platform: asked for and changed live, on every way that leads to a composer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.api.access import scope_of
from deployments.api.schemas import OneSlateBody, RecommendBody, SearchBody, SlateBody
from deployments.api.several_schemas import UsersBody
from load_tests.traffic.fuzz import fuzz
from recsys.access.api_keys import new_key
from tests.support.intrusion_rpc import ports_of
from tests.support.live import Live, event, eventually

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, when it is imported
]
OF_USER = "/v1/users/196/recommendations"
SHOP = "https://shop.example"


@dataclass(frozen=True)
class Guarded:
    """A platform that asks for keys; `keys` by their scope."""

    live: Live
    file: Path
    keys: dict[str, str]

    def call(self, key: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.live.http.request(method, path, headers=headers | more.pop("headers", {}), **more)

    def write(self, **entries: dict[str, Any]) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(yaml.safe_dump({"keys": [{"name": name, **entry} for name, entry in entries.items()]}))
        written.chmod(0o600)
        written.replace(self.file)  # at once: composers read the file meanwhile


@pytest.fixture(scope="module")
def guarded(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Keys come and go by the config alone: no replica restarts."""
    made = {scope: new_key() for scope in ("read", "write", "admin")}
    before = sorted(process.pid for process in live.replicas("Composer"))
    guarded = Guarded(live, tmp_path_factory.mktemp("keys") / "keys.yaml", {s: key for s, (key, _) in made.items()})
    guarded.write(**{scope: {"sha256": digest, "scopes": [scope]} for scope, (_, digest) in made.items()})
    live.reconfigure("security", keys_file=str(guarded.file), reload_s=0.2, cors_origins=[SHOP])
    try:
        assert eventually(lambda: all_composers_answer(live, 401))
        yield guarded
    finally:
        live.reconfigure("security")
    assert eventually(lambda: all_composers_answer(live, 200))
    assert sorted(process.pid for process in live.replicas("Composer")) == before


def all_composers_answer(live: Live, status: int) -> bool:
    return {live.http.get(OF_USER).status_code for _ in range(20)} == {status}


CALLS: list[tuple[str, str, Any, str]] = [
    ("GET", OF_USER, None, "read"),
    ("POST", "/v1/recommendations", {"user_id": "196"}, "read"),
    ("POST", "/v1/rank", {"items": ["1"]}, "read"),
    ("POST", "/v1/search", {"text": "robots"}, "read"),
    ("GET", "/v1/items/1", None, "read"),
    ("GET", "/v1/items/1/similar", None, "read"),
    ("GET", "/v1/users/196", None, "read"),
    ("GET", "/v1/status", None, "read"),
    ("POST", "/v1/events", {"events": [event("guarded", "1")]}, "write"),
    ("POST", "/v1/items", {"items": []}, "write"),
    ("PUT", "/v1/items/guarded", {"title": "x"}, "write"),
    ("DELETE", "/v1/items/guarded", None, "write"),
    ("DELETE", "/v1/users/guarded", None, "write"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"), CALLS, ids=[f"{method} {path}" for method, path, *_ in CALLS]
)
def test_a_call_is_opened_by_its_scope_alone(guarded: Guarded, method: str, path: str, body: Any, scope: str) -> None:
    nobody = guarded.call(None, method, path, json=body)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthenticated")
    assert nobody.headers["www-authenticate"] == 'Bearer realm="recsys"'
    stranger = guarded.call(new_key()[0], method, path, json=body)
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthenticated")
    assert 'error="invalid_token"' in stranger.headers["www-authenticate"]
    for other in {"read", "write", "admin"} - {scope}:
        answer = guarded.call(guarded.keys[other], method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert answer.headers["content-type"] == "application/problem+json"
        assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert guarded.call(guarded.keys[scope], method, path, json=body).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_probes_and_the_documentation_are_open(guarded: Guarded, path: str) -> None:
    assert guarded.call(None, "GET", path).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/admin", "/v1/admin/scale", "/v1/nothing", "/nothing", "/-/other"])
def test_what_is_not_there_is_closed_too(guarded: Guarded, method: str, path: str) -> None:
    """So that a route to come is closed until someone opens it; everything of /v1/admin is the admin's."""
    assert guarded.call(None, method, path).status_code == 401
    if path.startswith("/v1/admin"):
        assert {guarded.call(guarded.keys[s], method, path).status_code for s in ("read", "write")} == {403}
        # 422: scaling asks for a body.
        assert guarded.call(guarded.keys["admin"], method, path).status_code in (404, 405, 422)


def test_a_key_goes_in_either_header(guarded: Guarded) -> None:
    key = guarded.keys["read"]
    for headers in ({"X-API-Key": key}, {"Authorization": f"bearer {key}"}, {"authorization": f"Bearer  {key}"}):
        assert guarded.live.http.get(OF_USER, headers=headers).status_code == 200
    for headers in ({"Authorization": key}, {"Authorization": f"Basic {key}"}, {"Cookie": f"key={key}"}):
        assert guarded.live.http.get(OF_USER, headers=headers).status_code == 401
    assert guarded.live.http.get(OF_USER, params={"api_key": key}).status_code == 401


def test_every_port_that_leads_to_a_composer_asks_for_the_key(guarded: Guarded) -> None:
    """HAProxy's, the composer's own behind it, and the proxy that stands in for it."""
    live = guarded.live
    answers = {}
    for port in {live.instance.ports.fallback} | ports_of(live, "ray::ServeReplica:recsys:Composer"):
        for key in (None, guarded.keys["read"]):
            headers = {} if key is None else {"X-API-Key": key}
            try:
                url = f"http://127.0.0.1:{port}{OF_USER}"
                answers.setdefault(port, []).append(httpx.get(url, headers=headers, trust_env=False).status_code)
            except httpx.HTTPError:
                continue  # gRPC
    http = {port: said for port, said in answers.items() if said}
    assert len(http) >= 2
    assert all(said == [401, 200] for said in http.values()), http


def test_a_refused_body_is_not_waited_for(guarded: Guarded) -> None:
    """The answer comes while the caller has sent nothing of the megabytes that it announced."""
    url = guarded.live.http.base_url
    with socket.create_connection((url.host, url.port), 60) as line:
        line.sendall(
            b"POST /v1/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n"
        )
        assert line.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_no_websocket_goes_past_the_gate(guarded: Guarded) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = guarded.live.http.get("/v1/status", headers=upgrade | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert answer.status_code in (401, 403)


def test_keys_rotate_without_a_restart_or_a_failed_call(guarded: Guarded) -> None:
    old, new = new_key(), new_key()
    entries = yaml.safe_load(guarded.file.read_text())["keys"]
    kept = {entry.pop("name"): entry for entry in entries}
    try:
        guarded.write(**kept, old={"sha256": old[1], "scopes": ["read"]})
        assert eventually(lambda: opened(guarded, old[0]))
        guarded.write(**kept, old={"sha256": old[1], "scopes": ["read"]}, new={"sha256": new[1], "scopes": ["read"]})
        assert eventually(lambda: opened(guarded, new[0]))
        assert opened(guarded, old[0])
        guarded.write(**kept, new={"sha256": new[1], "scopes": ["read"]})
        assert eventually(lambda: not opened(guarded, old[0]))
        assert opened(guarded, new[0])
    finally:
        guarded.write(**kept)


def opened(guarded: Guarded, key: str) -> bool:
    return all(guarded.call(key, "GET", OF_USER).status_code == 200 for _ in range(10))


def test_a_key_over_its_rate_gets_429_and_no_other_does(guarded: Guarded) -> None:
    key, digest = new_key()
    entries = yaml.safe_load(guarded.file.read_text())["keys"]
    kept = {entry.pop("name"): entry for entry in entries}
    try:
        guarded.write(**kept, slow={"sha256": digest, "scopes": ["read"], "rate": 0.1, "burst": 5})
        assert eventually(lambda: guarded.call(key, "GET", OF_USER).status_code == 200)
        answers = [guarded.call(key, "GET", OF_USER) for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 7
        assert {answer.json()["code"] for answer in refused} == {"rate_limited"}
        assert all(1 <= int(answer.headers["retry-after"]) <= 20 for answer in refused)
        assert opened(guarded, guarded.keys["read"])
    finally:
        guarded.write(**kept)


def test_a_browser_may_call_from_the_named_page_alone(guarded: Guarded) -> None:
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    preflight = guarded.call(None, "OPTIONS", OF_USER, headers={"Origin": SHOP} | asks)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, SHOP)
    answer = guarded.call(guarded.keys["read"], "GET", OF_USER, headers={"Origin": SHOP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, SHOP)
    refused = guarded.call(None, "GET", OF_USER, headers={"Origin": SHOP})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SHOP)
    for other in ("https://evil.example", f"{SHOP}.evil.example", "null", SHOP.replace("https", "http")):
        assert guarded.call(None, "OPTIONS", OF_USER, headers={"Origin": other} | asks).status_code == 400
        answer = guarded.call(guarded.keys["read"], "GET", OF_USER, headers={"Origin": other})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [OF_USER, "/v1/items/1", "/v1/nothing", "/healthz", "/docs"])
def test_every_answer_carries_the_safe_headers(guarded: Guarded, path: str) -> None:
    for key in (None, guarded.keys["read"]):
        headers = guarded.call(key, "GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers


def test_the_page_documents_the_scope_of_every_operation(guarded: Guarded) -> None:
    page = guarded.call(None, "GET", "/openapi.json").json()
    assert page["components"]["securitySchemes"].keys() == {"bearer", "key"}
    for path, operations in page["paths"].items():
        for method, operation in operations.items():
            scope = scope_of(method.upper(), path)
            assert ("security" in operation) == (scope is not None), (method, path)
            assert ("401" in operation["responses"]) == (scope is not None)
            assert scope is None or f"scope `{scope}`" in operation["description"]


def test_no_key_reaches_a_log_or_an_answer(guarded: Guarded) -> None:
    key = guarded.keys["read"]
    for path in ("/v1/events", "/v1/nothing", "/v1/items/\udcff"):
        answer = guarded.call(key, "POST", path.replace("\udcff", "%ff"), content=b"{")
        assert key not in answer.text
    logs = [path for path in guarded.live.instance.ray_logs.rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_bytes()
        assert not any(secret.encode() in text for secret in guarded.keys.values()), path
        assert guarded.live.instance.token.encode() not in text, path


def catalogue(guarded: Guarded) -> dict[str, Any]:
    """Every item, by its id."""
    items: dict[str, Any] = {}
    cursor: dict[str, str] = {}
    while True:
        page = guarded.call(guarded.keys["read"], "GET", "/v1/items", params={"limit": 1000, **cursor}).json()
        items |= {item["item_id"]: item for item in page["items"]}
        if page["next_cursor"] is None:
            return items
        cursor = {"cursor": page["next_cursor"]}


def test_made_up_calls_get_no_5xx_and_nothing_undocumented(guarded: Guarded) -> None:
    """A short `make fuzz`: every operation at the edges of its schema, and some calls at random. Items that were there
    before are there afterwards, as they were. What is just wrong is tried once for bodies of one class; wrong values of
    the fields that one has beside stand in test_http_input.py.
    """
    assert issubclass(RecommendBody, OneSlateBody)
    assert issubclass(SearchBody, OneSlateBody)
    assert issubclass(RecommendBody, SlateBody)
    assert issubclass(UsersBody, SlateBody)
    once = ("POST /v1/search", "POST /v1/recommendations/batch")
    key, digest = new_key()
    entries = yaml.safe_load(guarded.file.read_text())["keys"]
    kept = {entry.pop("name"): entry for entry in entries}
    guarded.write(**kept, fuzzer={"sha256": digest, "scopes": ["read", "write", "admin"]})
    found: Callable[[], bool] = lambda: opened(guarded, key)  # noqa: E731
    before = catalogue(guarded)
    try:
        assert eventually(found)
        fuzzed = fuzz(str(guarded.live.http.base_url).rstrip("/"), examples=5, seed=7, key=key, right_edges=once)
    finally:
        guarded.write(**kept)
    after = catalogue(guarded)
    assert {item_id: after.get(item_id) for item_id in before} == before
    assert fuzzed.passed, fuzzed.report
    assert fuzzed.cases >= 800
    assert not [status for status in fuzzed.statuses if status >= 500]
    assert {200, 401, 404, 405, 415, 422} <= fuzzed.statuses.keys()
