"""Parts that die or hang. These tests come last; each leaves the platform whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from deployments.machine.environment import ray_environment
from deployments.machine.valkey import start_valkey
from load_tests.chaos.halt import halted
from tests.support.live import Live, event, eventually, ids

pytestmark = pytest.mark.cluster
RECOVERY_S = 180.0


def whole(live: Live) -> bool:
    """Whether every part answers again."""
    status = live.http.get("/v1/status")
    if (
        status.status_code != 200
        or status.json()["degraded"]
        or not all(s["replicas"] for s in status.json()["shards"])
    ):
        return False
    asked = live.http.post("/v1/recommendations", json={"user_id": "196"})
    searched = live.http.post("/v1/search", json={"text": "a film"})
    return all(a.status_code == 200 and a.json()["degraded"] == [] for a in (asked, searched))


@pytest.fixture(autouse=True)
def left_whole(live: Live) -> Iterator[None]:
    assert eventually(lambda: whole(live))
    yield
    assert eventually(lambda: whole(live), RECOVERY_S)


def answers_until(live: Live, over: Callable[[], bool], within_s: float = RECOVERY_S) -> list[dict[str, Any]]:
    """Recommendations for one user after another until it is over: every one of them must be a 200 with ten items."""
    found = []
    deadline = time.monotonic() + within_s
    while not over():
        assert time.monotonic() < deadline
        answer = live.http.post("/v1/recommendations", json={"user_id": str(len(found) % 900 + 1)})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) == 10
        found.append(answer.json())
    return found


def test_a_killed_shard_is_waited_for_or_named(live: Live) -> None:
    """The next replica may be there before the budget of a request is spent: then its answer is whole."""
    [old] = live.status()["shards"][1]["replicas"]
    [process] = live.replicas("shard-1")
    process.kill()

    def back() -> bool:
        replicas = live.status()["shards"][1]["replicas"]
        return bool(replicas) and old["id"] not in {r["id"] for r in replicas}

    answers = answers_until(live, back)
    assert {tuple(a["degraded"]) for a in answers} <= {(), ("shard-1",)}
    assert eventually(lambda: whole(live), RECOVERY_S)
    [new] = live.status()["shards"][1]["replicas"]
    assert new["items"] == old["items"]


def test_a_hung_shard_is_left_out_once_the_budget_is_spent(live: Live) -> None:
    [process] = live.replicas("shard-1")
    with halted(process):
        slate = live.json("GET", "/v1/users/196/recommendations")
        assert slate["degraded"] == ["shard-1"]
        assert len(slate["items"]) == 10
        unsure = [live.http.get(f"/v1/items/{number}") for number in (1, 2)]  # one in each shard
        assert {(a.status_code, a.json().get("code")) for a in unsure} == {(200, None), (503, "unavailable")}
    assert eventually(lambda: whole(live), RECOVERY_S)
    assert live.replicas("shard-1") == [process]


def test_recommendations_and_events_need_no_encoder(live: Live) -> None:
    [process] = live.replicas("Encoder")
    with halted(process):
        for user in ("196", "nobody"):
            assert len(live.recommend(user)) == 10
        live.like("244", "1")
        assert len(live.json("GET", "/v1/items/1/similar")["items"]) == 10


def test_a_text_is_refused_while_the_encoder_hangs(live: Live) -> None:
    [process] = live.replicas("Encoder")
    with halted(process):
        text = {"text": "a text that nobody has encoded yet"}
        answer = live.http.post("/v1/search", json=text, timeout=60)  # the budget is 5
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


def test_a_killed_encoder_comes_back(live: Live) -> None:
    [process] = live.replicas("Encoder")
    process.kill()
    asked = 0

    def searched() -> httpx.Response:
        nonlocal asked
        asked += 1
        return live.http.post("/v1/search", json={"text": f"a text of its own, number {asked}"})

    def back() -> bool:
        answer = searched()
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    answers = answers_until(live, back)
    assert {tuple(a["degraded"]) for a in answers} <= {()}


def test_without_valkey_reads_go_on_and_writes_are_refused(live: Live) -> None:
    before = live.json("GET", "/v1/users/222")["events"]
    warm = ids(live.recommend("222"))
    liked = event("222", "1000")
    valkey = live.valkey()
    with halted(valkey):
        for user in ("222", "223", "nobody"):
            slate = live.json("POST", "/v1/recommendations", {"user_id": user})
            assert slate["degraded"] == ["profiles"]
            assert len(slate["items"]) == 10
            assert {item["source"] for item in slate["items"]} <= {"popular", "trending", "recent"}
        # What needs no profile is complete.
        assert live.json("POST", "/v1/search", {"text": "a film about the sea"})["degraded"] == []
        assert live.json("GET", "/v1/items/1/similar")["degraded"] == []
        assert live.status()["degraded"] == ["redis"]
        calls: list[tuple[str, str, Any]] = [
            ("POST", "/v1/events", {"events": [liked]}),
            ("POST", "/v1/items", {"items": [{"item_id": "unsaved", "title": "Not to be lost silently"}]}),
            ("PUT", "/v1/items/unsaved", {"title": "Not to be lost silently"}),
            ("DELETE", "/v1/items/1000", None),
            ("GET", "/v1/users/222", None),
            ("DELETE", "/v1/users/nobody", None),
        ]
        with ThreadPoolExecutor() as pool:
            refused = list(pool.map(lambda call: live.http.request(call[0], call[1], json=call[2]), calls))
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["content-type"] == "application/problem+json"
    assert eventually(lambda: whole(live), RECOVERY_S)
    # Refused was not forgotten: sent again with the same id, it counts once.
    again = live.json("POST", "/v1/events", {"events": [liked]})
    assert again["accepted"] + again["duplicates"] == 1
    assert live.json("GET", "/v1/users/222")["events"] == before + 1
    assert set(ids(live.recommend("222"))) & set(warm)


def test_a_killed_valkey_started_again_has_all_that_was_acknowledged(live: Live) -> None:
    """Started on its append-only file, without a word to anybody: the parts find it again by themselves."""
    liked = [event("333", str(number)) for number in (11, 12, 13)]
    sent = live.json("POST", "/v1/events", {"events": liked})
    written = live.json("PUT", "/v1/items/kept", {"title": "A film that outlives the store"})
    valkey = live.valkey()
    valkey.kill()
    assert eventually(lambda: valkey not in live.processes())  # each thread ends on its own, and answered before that
    for user in ("333", "nobody"):
        slate = live.json("POST", "/v1/recommendations", {"user_id": user})
        assert slate["degraded"] == ["profiles"]
        assert len(slate["items"]) == 10
    start_valkey(
        live.instance.home / "valkey",
        live.instance.valkey_socket,
        live.instance.log_dir / "valkey.log",
        env=ray_environment(live.instance, os.environ),
    )
    assert eventually(lambda: whole(live), RECOVERY_S)
    assert (sent["accepted"], sent["refused"]) == (3, [])
    history = {e["event_id"] for e in live.json("GET", "/v1/users/333")["history"]}
    assert {e["event_id"] for e in liked} <= history
    assert eventually(lambda: live.http.get("/v1/items/kept").status_code == 200)
    assert written["item_id"] == "kept"


def test_a_killed_composer_is_replaced_and_callers_are_told_to_try_again(live: Live) -> None:
    """The only one: until the next serves, what is not answered is a 503 that says when to try again."""
    [process] = live.replicas("Composer")
    process.kill()
    away = 0

    def back() -> bool:
        nonlocal away
        try:
            answer = live.http.get("/v1/users/196/recommendations")
        except httpx.TransportError:  # what the killed process held, and what the connection to it was given
            away += 1
            return False
        if answer.status_code == 503:
            away += 1
            assert (answer.headers["retry-after"], answer.json()["code"]) == ("1", "unavailable")
            return False
        assert answer.status_code == 200, answer.text
        return live.replicas("Composer") not in ([], [process])

    assert eventually(back, RECOVERY_S)
    assert away
