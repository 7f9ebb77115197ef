"""What an operator does while the platform serves: more replicas, less room, looking at its sockets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import httpx
import orjson
import psutil
import pytest

from deployments.machine.serve_config import read_for_serve
from tests.support.live import Live, eventually, ids

pytestmark = pytest.mark.cluster


def scaled(config: dict[str, Any], deployment: str, replicas: int) -> dict[str, Any]:
    """The config with so many replicas of a deployment; YAML's anchors make deployments share their parts."""
    [application] = config["applications"]
    deployments = [
        d | {"autoscaling_config": d["autoscaling_config"] | {"min_replicas": replicas, "max_replicas": replicas}}
        if d["name"] == deployment
        else d
        for d in application["deployments"]
    ]
    return config | {"applications": [application | {"deployments": deployments}]}


def test_a_replica_that_comes_later_holds_the_same_items(live: Live) -> None:
    """The snapshot and the log after it: 30 upserts and 5 deletes were made before the replica was."""
    made = [{"item_id": f"late-{n}", "title": f"Late film {n}", "attributes": {"language": "late"}} for n in range(30)]
    live.json("POST", "/v1/items", {"items": made}, wait="visible")
    for n in range(5):
        live.json("DELETE", f"/v1/items/late-{n}", wait="visible")
    wanted = {f"late-{n}" for n in range(5, 30)}
    # A version that was served a moment ago lingers, and the number of items is that of the one loaded last.
    assert eventually(lambda: all(len(r["versions"]) == 1 for r in live.status()["shards"][0]["replicas"]))
    before = live.status()["shards"][0]["replicas"]
    config = read_for_serve(live.config).document
    with live.rollout() as rollout:
        rollout.submit(scaled(config, "shard-0", 2))
        assert eventually(lambda: len(live.status()["shards"][0]["replicas"]) == 2)
        both = live.status()["shards"][0]["replicas"]
        assert {r["items"] for r in both} == {before[0]["items"]}
        assert len({tuple(r["versions"].items()) for r in both}) == 1
        assert before[0]["id"] in {r["id"] for r in both}  # more replicas restart none
        only = {"must": [{"key": "language", "eq": "late"}]}
        for user in range(1, 41):
            assert set(ids(live.recommend(str(user), k=100, filter=only))) == wanted
        # A write that both have is seen by every read; which of them answers is chance.
        for n in range(5, 15):
            assert live.json("DELETE", f"/v1/items/late-{n}", wait="visible")["visible"] is True
            wanted.remove(f"late-{n}")
            for user in range(4):
                assert set(ids(live.recommend(str(user), k=100, filter=only))) == wanted
        rollout.submit(scaled(config, "shard-0", 1))
        assert eventually(lambda: len(live.status()["shards"][0]["replicas"]) == 1)
    for item_id in wanted:
        live.json("DELETE", f"/v1/items/{item_id}")


def test_an_event_counts_whichever_composer_hears_of_it(live: Live) -> None:
    """Two of them behind HAProxy, which hands each the next call; none keeps a user's profile to itself."""
    config = read_for_serve(live.config).document
    with live.rollout() as rollout:
        rollout.submit(scaled(config, "Composer", 2))
        assert eventually(lambda: len(live.status()["composers"]) == 2)
        for user in range(400, 430):
            top = live.recommend(str(user))[0]["item_id"]
            live.like(str(user), top)
            for _ in range(3):
                assert top not in ids(live.recommend(str(user)))
        rollout.submit(scaled(config, "Composer", 1))
        assert eventually(lambda: len(live.status()["composers"]) == 1)


def test_settings_change_live_and_what_is_too_much_is_told_so(live: Live) -> None:
    """With room for one request under way and one waiting, the others of forty get a 429, and no replica restarts."""
    config = read_for_serve(live.config).document
    [application] = config["applications"]
    narrow = {"flights": 1, "max_batch": 1, "max_waiting": 1}
    deployments = [
        d | {"user_config": d["user_config"] | narrow} if d["name"] == "Composer" else d
        for d in application["deployments"]
    ]
    # One that was scaled away still drains.
    assert eventually(lambda: len(live.replicas("Composer")) == 1)
    before = [process.pid for process in live.replicas("Composer")]

    def ask(number: int) -> httpx.Response:
        return live.http.get(f"/v1/users/{number}/recommendations")

    def refused() -> list[httpx.Response]:
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(ask, range(1, 41)))
        assert [(a.status_code, a.text) for a in answers if a.status_code not in (200, 429)] == []
        assert any(a.status_code == 200 for a in answers)
        return [a for a in answers if a.status_code == 429]

    with live.rollout() as rollout:
        try:
            rollout.submit(config | {"applications": [application | {"deployments": deployments}]})
            answers = eventually(refused)
        finally:
            rollout.submit(config)
            rollout.wait(live.instance.api_url, lambda _: None, 60)
    assert {(a.json()["code"], a.headers["retry-after"]) for a in answers} == {("overloaded", "1")}
    assert eventually(lambda: not refused())
    assert [process.pid for process in live.replicas("Composer")] == before


def listening(live: Live) -> list[tuple[str, str, int]]:
    """(process, address, port)"""
    found = []
    for process in live.processes():
        with suppress(psutil.NoSuchProcess):  # HAProxy is replaced by another one whenever replicas change
            connections = process.net_connections("inet")
            found += [(process.name(), *c.laddr) for c in connections if c.status == psutil.CONN_LISTEN]
    return found


def test_every_socket_is_on_loopback(live: Live) -> None:
    ours = {live.http.base_url.port, *live.instance.ports.model_dump().values()}
    assert eventually(lambda: ours <= {port for _, _, port in listening(live)})

    def beyond(host: str) -> bool:
        address = ip_address(host)
        return not (getattr(address, "ipv4_mapped", None) or address).is_loopback

    assert [socket for socket in listening(live) if beyond(socket[1])] == []


def test_every_process_is_the_platforms_own(live: Live) -> None:
    """What a config file of two shards starts: the server of events, the replicas, and what leads to them."""
    assert live.valkey().is_running()
    for deployment in ("Composer", "Encoder", "shard-0", "shard-1"):
        assert live.replicas(deployment), deployment
    assert any(process.name() == "haproxy" for process in live.processes())


def test_the_dashboard_asks_for_the_token(live: Live) -> None:
    url = f"{live.instance.dashboard_url}/api/serve/applications/"
    assert httpx.get(url, trust_env=False).status_code == 401
    answer = httpx.get(url, headers={"Authorization": f"Bearer {live.instance.token}"}, trust_env=False)
    assert answer.json()["applications"]["recsys"]["status"] == "RUNNING"


def test_the_status_command_says_what_the_api_says(live: Live) -> None:
    said = orjson.loads(live.recsys("status", "--json"))
    assert said["api"] == live.instance.api_url
    assert said["applications"] == {"recsys": "RUNNING"}
    assert said["index_version"] == live.status()["index_version"]
