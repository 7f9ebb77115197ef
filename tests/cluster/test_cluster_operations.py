"""What an operator does while the platform serves: other versions, more replicas, looking at its sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
import yaml

from deployments.machine.serve_config import read_for_serve
from tests.support.live import Live, eventually, ids

pytestmark = pytest.mark.cluster


class Load:
    """Calls that never pause; `failed` are those that got no 200, `answers` the others."""

    def __init__(self, live: Live, threads: int = 3) -> None:
        self._live = live
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(threads)]
        self.failed: list[str] = []
        self.answers: list[dict[str, Any]] = []

    @contextmanager
    def running(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._live.http.base_url, trust_env=False, timeout=30) as http:
            for turn in range(number, 1_000_000, len(self._threads)):
                if self._over.is_set():
                    return
                path = "/v1/recommendations" if turn % 2 else "/v1/rank"
                body = {"user_id": str(turn % 900 + 1)} | ({} if turn % 2 else {"items": ["50", "100"]})
                try:
                    answer = http.post(path, json=body)
                    if answer.status_code == 200:
                        self.answers.append(answer.json())
                    else:
                        self.failed.append(f"{answer.status_code} {answer.text}")
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                self._over.wait(0.01)


@pytest.fixture
def other_films(live: Live, tmp_path: Path) -> Path:
    """The first 400 films without the first one, and with another title for Star Wars."""
    films = [orjson.loads(line) for line in live.data.items_file.read_bytes().splitlines()[1:400]]
    for film in films:
        if film["item_id"] == "50":
            film["title"] = "A Robot's Holiday (1977)"
    file = tmp_path / "films.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, films)))
    return file


def test_versions_switch_live_without_a_failed_request(live: Live, other_films: Path) -> None:
    """Forth and back under a constant load: no request fails, and no answer mixes the two versions."""
    old = live.status()["index_version"]
    live.json("PUT", "/v1/items/between", {"title": "Made between two versions"}, wait="visible")
    built = orjson.loads(live.recsys("build", other_films, "--json"))
    new = built["version"]
    assert (built["items"], built["promoted"]) == (399, False)
    assert live.status()["index_version"] == old

    load = Load(live)
    with load.running():
        assert eventually(lambda: len(load.answers) > 20)
        live.recsys("promote", new, "--allow-shrink")  # to a quarter of the catalogue
        assert eventually(lambda: live.status()["index_version"] == new)
        assert live.http.get("/v1/items/1").status_code == 404
        assert live.json("GET", "/v1/items/50")["title"] == "A Robot's Holiday (1977)"
        assert live.json("GET", "/v1/items/between")["title"] == "Made between two versions"  # written before it
        assert len(live.recommend("196")) == 10
        served = len(load.answers)
        assert eventually(lambda: len(load.answers) > served + 20)

        live.recsys("rollback")
        assert eventually(lambda: live.status()["index_version"] == old)
        assert live.json("GET", "/v1/items/1")["title"] == "Toy Story (1995)"
        served = len(load.answers)
        assert eventually(lambda: len(load.answers) > served + 20)
    assert load.failed == []
    titles = {old: "Star Wars (1977)", new: "A Robot's Holiday (1977)"}
    assert {answer["index_version"] for answer in load.answers} == titles.keys()
    for answer in load.answers:
        assert answer["degraded"] == []
        if answer["scenario"] == "rank":
            assert {item["title"] for item in answer["items"]} == {titles[answer["index_version"]], "Fargo (1996)"}
        else:
            assert len(answer["items"]) == 10
            assert answer["index_version"] == old or not {"1", "401"} & {*ids(answer["items"])}
    live.json("DELETE", "/v1/items/between", wait="visible")


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
        assert eventually(lambda: len(live.status()["shards"][0]["replicas"]) == 2, within_s=120)
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
        assert eventually(lambda: len(live.status()["shards"][0]["replicas"]) == 1, within_s=120)
    for item_id in wanted:
        live.json("DELETE", f"/v1/items/{item_id}")


def test_an_event_counts_whichever_composer_hears_of_it(live: Live) -> None:
    """Two of them behind HAProxy, which hands each the next call; none keeps a user's profile to itself."""
    config = read_for_serve(live.config).document
    with live.rollout() as rollout:
        rollout.submit(scaled(config, "Composer", 2))
        assert eventually(lambda: len(live.status()["composers"]) == 2, within_s=120)
        for user in range(400, 430):
            top = live.recommend(str(user))[0]["item_id"]
            live.like(str(user), top)
            for _ in range(3):
                assert top not in ids(live.recommend(str(user)))
        rollout.submit(scaled(config, "Composer", 1))
        assert eventually(lambda: len(live.status()["composers"]) == 1, within_s=120)


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"Composer": {"max_batch": 0}, "shard-0": {"ef_serch": 64}, "Encoder": {"max_batch": 0}},
        {"Composer": {"scenarios": {"hom": {"sources": [], "weights": {}}}}},
    ],
    ids=["everywhere", "scenarios"],
)
def test_wrong_settings_end_no_replica(live: Live, wrong: dict[str, dict[str, Any]]) -> None:
    """Handed in past `recsys apply`, as `serve deploy` would: all go on as before, and the status says why."""
    config = read_for_serve(live.config).document
    [application] = config["applications"]
    deployments = [d | {"user_config": d["user_config"] | wrong.get(d["name"], {})} for d in application["deployments"]]
    assert eventually(lambda: all(len(live.replicas(deployment)) == 1 for deployment in wrong))
    before = [process.pid for deployment in wrong for process in live.replicas(deployment)]
    with live.rollout() as rollout:
        try:
            rollout.submit(config | {"applications": [application | {"deployments": deployments}]})
            assert eventually(lambda: live.status()["refused_settings"].keys() == wrong.keys())
            refused, said = live.status()["refused_settings"], live.recsys("status")
            for deployment, settings in wrong.items():
                assert all(name in refused[deployment] for name in settings)
                assert deployment in said
            for user in range(1, 20):
                assert live.recommend(str(user))
        finally:
            live.recsys("apply")
    assert live.status()["refused_settings"] == {}
    assert [process.pid for deployment in wrong for process in live.replicas(deployment)] == before


def test_apply_names_scenarios_that_were_edited_and_takes_them_back(live: Live) -> None:
    """The file does not change them, and says so; --discard-edits gives them back to it, by an edit of its own."""
    live.json("PATCH", "/v1/admin/scenarios", {"scenarios": {"home": {"diversity": 0.4}}, "author": "ann"})
    try:
        assert eventually(lambda: live.status()["edited_scenarios"] == ["home"])
        assert "edited live" in live.recsys("status")
        planned = orjson.loads(live.recsys("apply", "--discard-edits", "--dry-run", "--json"))
        assert (planned["edited_scenarios"], planned["applied"]) == (["home"], False)
        assert live.status()["edited_scenarios"] == ["home"]
        assert orjson.loads(live.recsys("apply", "--discard-edits", "--json"))["applied"] is True
        assert eventually(lambda: live.status()["edited_scenarios"] == [])
    finally:
        live.json("PATCH", "/v1/admin/scenarios", {"scenarios": {"home": None}})


def test_apply_takes_over_what_changes_live(live: Live) -> None:
    """And refuses what is wrong or takes a start, before anything is handed on."""
    good = live.config.read_text()

    def write(args: dict[str, Any], serving: dict[str, Any]) -> None:
        known = yaml.safe_load(good)
        [application] = known["applications"]
        application["args"] |= args
        next(d for d in application["deployments"] if d["name"] == "Composer")["user_config"] |= serving
        live.config.write_text(yaml.safe_dump(known))

    def asked() -> int:
        return live.http.get("/v1/users/1/recommendations", params={"k": 8}).status_code

    try:
        write({}, {"limits": {"k": 7}})
        change = {"setting": "Composer.user_config.limits.k", "old": 100, "new": 7, "how": "live", "also": None}
        planned = orjson.loads(live.recsys("apply", "--dry-run", "--json"))
        assert (planned["applied"], planned["changes"]) == (False, [change])
        assert asked() == 200
        applied = orjson.loads(live.recsys("apply", "--json"))
        assert (applied["applied"], applied["changes"]) == (True, [change])
        assert asked() == 422
        assert orjson.loads(live.recsys("apply", "--json"))["changes"] == []
        write({"keep_versions": 4}, {})
        with pytest.raises(AssertionError, match=r"args\.keep_versions: takes a start \(recsys down, recsys up\)"):
            live.recsys("apply")
        write({}, {"max_batsh": 64})
        with pytest.raises(AssertionError, match=r"user_config\.max_batsh: Extra inputs"):
            live.recsys("apply")
    finally:
        live.config.write_text(good)
        live.recsys("apply")
    assert asked() == 200


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
