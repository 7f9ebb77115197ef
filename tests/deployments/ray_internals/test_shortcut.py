"""Short calls go past Serve's wrapper, everything else through it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deployments.api.front import Front
from deployments.ray_internals import shortcut
from deployments.ray_internals.shortcut import Shortcut


class Told(Front):
    def __init__(self) -> None:
        self.calls: list[dict] = []

    async def __call__(self, scope, receive, send) -> None:
        self.calls.append(scope)


def http(path: bytes, method: str = "GET") -> dict:
    return {"type": "http", "method": method, "raw_path": path}


@pytest.fixture
def replica(monkeypatch):
    """What Serve says that the replica runs."""
    context = SimpleNamespace(servable_object=None)
    monkeypatch.setattr(shortcut.serve, "get_replica_context", lambda: context)
    return context


async def test_short_calls_go_to_the_front_and_others_through_serve(replica):
    front, through = Told(), Told()
    replica.servable_object = SimpleNamespace(app=front)
    app = Shortcut(through)
    short = [
        http(b"/v1/users/a%2Fb/recommendations"), http(b"/v1/users/1/recommendations?k=2"), http(b"/v1/events", "POST"),
        http(b"/v1/items/a"), http(b"/v1/items/a/similar?k=2"), http(b"/v1/items/a?wait=visible", "DELETE"),
    ]  # fmt: skip
    others = [
        http(b"/v1/users/1/recommendations", "POST"), http(b"/v1/users/1/2/recommendations"),
        http(b"/v1/users/1/recommendations/"), http(b"/v1/users//recommendations"), http(b"/v1/users/1/events"),
        http(b"/v1/events"), http(b"/v1/events/1", "DELETE"), http(b"/v1/items", "GET"), http(b"/v1/items", "POST"),
        http(b"/v1/items/a", "PUT"), http(b"/v1/items/a/similar", "DELETE"), http(b"/v1/items/a/b"),
        {"type": "websocket", "raw_path": b"/v1/users/1/recommendations"}, {"type": "lifespan"},
    ]  # fmt: skip
    for scope in short + others:
        await app(scope, None, None)
    assert front.calls == short
    assert all(scope["recsys.past_serve"] for scope in short)
    assert through.calls == others
    assert not any("recsys.past_serve" in scope for scope in others)


async def test_until_serve_names_the_application_calls_go_through_it(replica):
    front, through = Told(), Told()
    app = Shortcut(through)
    await app(http(b"/v1/users/1/recommendations"), None, None)
    replica.servable_object = SimpleNamespace(app=front)
    await app(http(b"/v1/users/2/recommendations"), None, None)
    assert [len(through.calls), len(front.calls)] == [1, 1]


async def test_another_application_is_left_alone(replica):
    through = Told()
    for servable in (SimpleNamespace(app=object()), object()):
        replica.servable_object = servable
        await Shortcut(through)(http(b"/v1/users/1/recommendations"), None, None)
    assert len(through.calls) == 2
    assert not any("recsys.past_serve" in scope for scope in through.calls)


def test_only_replicas_get_it(replica, monkeypatch):
    assert [one.cls for one in shortcut.middlewares()] == [Shortcut]
    monkeypatch.undo()  # no replica, as in Serve's proxy
    assert shortcut.middlewares() == []
