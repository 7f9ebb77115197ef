"""The host names under which the API answers."""

from __future__ import annotations

from recsys.access.gate import Gate
from recsys.config.security import Security
from recsys.config.serving import Serving
from tests.support.world import event

RECOMMEND = "/v1/users/u/recommendations"


LOCAL = [
    "localhost",
    "localhost:8000",
    "LOCALHOST.",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.1.2.3",
    "[::1]",
    "[::1]:8000",
    "",
]


ELSEWHERE = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7", "0.0.0.0",
    "[::]", "[2001:db8::1]:8000", "localhost@evil.example", "é", "x" * 5000,
]  # fmt: skip


CALLS = [
    ("GET", RECOMMEND), ("GET", "/v1/users/u"), ("DELETE", "/v1/users/u"), ("POST", "/v1/search"),
    ("GET", "/v1/admin/deployments"), ("POST", "/v1/admin/scale"), ("PUT", "/v1/items/a"),
]  # fmt: skip


async def test_without_keys_only_loopbacks_names_are_answered(make_http):
    """A page whose own name leads to 127.0.0.1 is refused, whatever it calls; probes and pages without data are not."""
    http = await make_http()
    await http.world.gateway.record([event("u", "sea-1")])
    for host in ELSEWHERE:
        sent = {"host": host.encode("latin-1", "replace")}
        for method, path in CALLS:
            answer = await http.request(method, path, headers=sent)
            assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host"), (host, path)
            assert "security.allow_no_keys" in answer.json()["detail"]
        assert (await http.get("/healthz", headers=sent)).status_code == 200
    for host in LOCAL:
        assert (await http.get("/v1/users/u", headers={"host": host})).json()["events"] == 1, host


async def test_where_keys_are_asked_for_or_the_operator_says_so_any_name_is_answered(make_http, monkeypatch):
    http = await make_http(serving=Serving(budget_s=20, security=Security(allow_no_keys=True)))
    assert (await http.get(RECOMMEND, headers={"host": "shop.example"})).status_code == 200
    http.world.gateway.configure(Serving(budget_s=20))
    assert (await http.get(RECOMMEND, headers={"host": "shop.example"})).status_code == 421
    monkeypatch.setattr(Gate, "open", property(lambda _: False))
    assert (await http.get(RECOMMEND, headers={"host": "shop.example"})).status_code == 200
