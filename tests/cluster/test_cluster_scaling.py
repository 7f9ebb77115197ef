"""Scaling by hand, live: on the real platform, with requests under way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
import yaml

from tests.support.live import Live, eventually

pytestmark = pytest.mark.cluster


def replicas(live: Live) -> dict[str, set[str]]:
    """Ids of those that run, by deployment."""
    with live.rollout() as rollout:
        [application] = rollout.applications().values()
    return {
        name: {replica["replica_id"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"}
        for name, deployment in application["deployments"].items()
    }


@pytest.fixture
def scaled_back(live: Live) -> Iterator[None]:
    """The platform as it was, for the tests to come."""
    before = {name: len(ids) for name, ids in replicas(live).items()}
    yield
    with live.rollout() as rollout:
        rollout.submit(yaml.safe_load(live.config.read_text()))
    assert eventually(lambda: {name: len(ids) for name, ids in replicas(live).items()} == before)


@contextmanager
def asked(live: Live) -> Iterator[Counter[Any]]:
    """Requests all the while, counted by status; answers that lack a part as such."""
    seen: Counter[Any] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=live.instance.api_url, trust_env=False, timeout=30) as http:
            user = 0
            while not over.is_set():
                user = user % 900 + 1
                try:
                    answer = http.get(f"/v1/users/{user}/recommendations", params={"k": 5})
                except httpx.HTTPError as error:
                    seen[type(error).__name__] += 1
                    continue
                seen[answer.status_code] += 1
                if answer.status_code == 200 and answer.json()["degraded"]:
                    seen["degraded"] += 1
                over.wait(0.02)  # the machine has replicas to start

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        yield seen
    finally:
        over.set()
        caller.join()


@pytest.mark.usefixtures("scaled_back")
def test_scaling_up_and_down_replaces_no_replica_and_fails_no_request(live: Live) -> None:
    before = replicas(live)
    for line, bounds in ((("scale", "shard-0", "2:3"), (2, 3, 2, False)), (("hold", "composer"), (1, 1, 1, True))):
        planned = orjson.loads(live.recsys(*line, "--dry-run", "--json"))
        [one] = [d for d in planned["deployments"] if d["deployment"].lower() == line[1]]
        assert (one["low"], one["high"], one["target"], one["held"]) == bounds
        assert planned["changed"] == [one["deployment"]]
    assert replicas(live) == before
    with asked(live) as seen:
        for deployment in ("shard-0", "composer"):
            up = orjson.loads(live.recsys("scale", deployment, "2:3", "--json"))
            assert {d["deployment"]: (d["low"], d["high"]) for d in up["deployments"]} == {
                name: (2, 3) if name.lower() == deployment else (1, 1) for name in before
            }
            during = replicas(live)
            for name, ids in before.items():
                assert ids <= during[name]
                assert len(during[name]) == (2 if name.lower() == deployment else 1)
            shown = {
                d["deployment"]: d["running"] for d in orjson.loads(live.recsys("status", "--json"))["deployments"]
            }
            assert shown == {name: len(ids) for name, ids in during.items()}
            live.recsys("scale", deployment, "1", "--json")
            # What goes signs off first, and its answers under way end.
            assert eventually(lambda: {len(ids) for ids in replicas(live).values()} == {1})
            answers = seen[200]
            assert eventually(lambda answers=answers: seen[200] > answers + 20)
    assert {name: ids for name, ids in replicas(live).items() if name in ("Encoder", "shard-1")} == {
        name: before[name] for name in ("Encoder", "shard-1")
    }
    assert set(seen) == {200}


@pytest.mark.usefixtures("scaled_back")
def test_a_new_shard_replica_answers_from_the_log_as_well(live: Live) -> None:
    """It is said to be there only with the changes that came after the version was built."""
    live.json("PUT", "/v1/items/scaled-1", {"title": "Scaled", "text": "a film of scales"}, wait="visible")
    owner = next(n for n in range(2) if _holds(live, n))
    live.recsys("scale", f"shard-{owner}", "2", "--json")
    found = eventually(lambda: len(_of(live, owner)) == 2 and _of(live, owner))
    assert len({replica["items"] for replica in found}) == 1
    assert len({tuple(replica["versions"].items()) for replica in found}) == 1
    live.json("DELETE", "/v1/items/scaled-1", wait="visible")


def _of(live: Live, shard: int) -> list[dict[str, Any]]:
    return list(live.status()["shards"][shard]["replicas"])


def _holds(live: Live, shard: int) -> bool:
    """Whether the shard's log has anything: the item was written to one of them, or to several by other tests."""
    return any(cursor != "0-0" for replica in _of(live, shard) for cursor in replica["versions"].values())


@pytest.mark.usefixtures("scaled_back")
def test_the_admin_calls_do_the_same(live: Live) -> None:
    before = replicas(live)
    said = live.json("POST", "/v1/admin/scale", {"deployment": "shard-1", "min_replicas": 2, "max_replicas": 2})
    assert next(d for d in said["deployments"] if d["deployment"] == "shard-1") | {"running": 0} == {
        "deployment": "shard-1", "running": 0, "target": 2, "low": 2, "high": 2, "held": False,
    }  # fmt: skip
    assert eventually(lambda: len(replicas(live)["shard-1"]) == 2)
    assert all(ids <= replicas(live)[name] for name, ids in before.items())
    held = live.json("POST", "/v1/admin/hold", {"held": True})
    assert all(d["held"] for d in held["deployments"])
    assert all(ids <= replicas(live)[name] for name, ids in before.items())
    released = live.json("POST", "/v1/admin/hold", {"deployment": "shard-1", "held": False})
    assert [d["deployment"] for d in released["deployments"] if not d["held"]] == ["shard-1"]
    assert live.json("GET", "/v1/admin/deployments") == released


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("scale", {"deployment": "nope", "min_replicas": 1, "max_replicas": 1}, 404),
        ("scale", {"deployment": "shard-0", "min_replicas": 3, "max_replicas": 2}, 422),
        ("scale", {"deployment": "shard-0", "min_replicas": 0, "max_replicas": 2}, 422),
        ("scale", {"deployment": "shard-0", "min_replicas": 1}, 422),
        ("hold", {"deployment": "nope", "held": True}, 404),
        ("hold", {}, 422),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(live: Live, path, body, status) -> None:
    before = live.json("GET", "/v1/admin/deployments")
    assert live.http.post(f"/v1/admin/{path}", json=body).status_code == status
    assert live.json("GET", "/v1/admin/deployments") == before
