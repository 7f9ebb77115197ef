"""New versions of what is live, on the real platform: by hand under reads, and unattended."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from deployments.machine.serve_config import read_for_serve
from tests.support.live import Live, eventually, ids

pytestmark = pytest.mark.cluster


def names(live: Live) -> list[str]:
    return [v["version"] for v in orjson.loads(live.recsys("versions", "--json"))]


def test_what_is_live_becomes_the_next_version_under_reads(live: Live) -> None:
    """Upserts and deletes are in it, no read fails or is incomplete meanwhile, and what was deleted stays gone."""
    made = [{"item_id": f"live-{n}", "title": f"Made live {n}", "attributes": {"language": "live"}} for n in range(20)]
    live.json("POST", "/v1/items", {"items": made}, wait="visible")
    for n in range(5):
        assert live.json("DELETE", f"/v1/items/live-{n}", wait="visible")["visible"] is True
    wanted, only = {f"live-{n}" for n in range(5, 20)}, {"must": [{"key": "language", "eq": "live"}]}
    items, over, wrong, served = live.status()["items"], threading.Event(), [], set()

    def read() -> None:
        while not over.is_set():
            answer = live.http.post("/v1/recommendations", json={"user_id": "1", "k": 100, "filter": only})
            slate = answer.json()
            if answer.status_code != 200 or slate["degraded"] or set(ids(slate["items"])) != wanted:
                wrong.append((answer.status_code, slate))
            served.add(slate.get("index_version"))
            over.wait(0.05)  # the build needs the machine, too

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        before = live.status()["index_version"]
        built = orjson.loads(live.recsys("build", "--from-live", "--promote", "--json"))
        assert built["serving"] is True
        assert live.status()["index_version"] == built["version"]  # the command came back when it was served
        live.json("GET", "/v1/items/live-7")
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert built["items"] == items
    assert built["version"] in names(live)
    assert {before} <= served <= {before, built["version"]}
    assert orjson.loads(live.recsys("rollback", "--json"))["version"] == before
    assert eventually(lambda: live.status()["index_version"] == before)
    assert set(ids(live.recommend("1", k=100, filter=only))) == wanted
    live.recsys("promote", built["version"])
    assert eventually(lambda: live.status()["index_version"] == built["version"])
    for item_id in wanted:
        live.json("DELETE", f"/v1/items/{item_id}", wait="visible")


def test_drift_brings_a_new_version_by_itself(live: Live) -> None:
    """Past the share of items that the configuration allows in the log alone; versions past what is kept are gone."""
    config = read_for_serve(live.config).document
    [application] = config["applications"]
    before = live.status()["index_version"]

    def tuned(deployment: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if deployment["name"] == "Composer":
            more = {"rebuild": {"cron": None, "log_share": 0.001, "pause_s": 1}}
        elif deployment["name"].startswith("shard"):
            more = {"drift_s": 0.5}
        return deployment | {"user_config": deployment["user_config"] | more}

    deployments = [tuned(d) for d in application["deployments"]]
    with live.rollout() as rollout:
        try:
            rollout.submit(config | {"applications": [application | {"deployments": deployments}]})
            made = [{"item_id": f"drift-{n}", "title": f"Drifting {n}"} for n in range(30)]
            live.json("POST", "/v1/items", {"items": made}, wait="visible")
            assert eventually(lambda: live.status()["index_version"] != before)
        finally:
            rollout.submit(config)

    def noted() -> bool:
        """Once it is served, what is no longer kept is removed, and then the rebuild is over."""
        after = live.status()
        return bool((after["last_rebuild"] or {}).get("version") == after["index_version"])

    assert eventually(noted)
    after = live.status()
    assert after["last_rebuild"]["reason"].startswith("drift: log_share is ")
    assert len(names(live)) <= 7  # three served ones, three that wait for their promotion, one that a replica held
    for n in range(30):
        live.json("DELETE", f"/v1/items/drift-{n}", wait="visible")
