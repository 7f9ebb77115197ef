"""Settings of the running platform: a changed file is handed in, and what is wrong changes nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml

from deployments.machine.serve_config import read_for_serve
from tests.support.live import Live, eventually

pytestmark = pytest.mark.cluster


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
        with pytest.raises(AssertionError, match=r"user_config\.max_batsh: is not known"):
            live.recsys("apply")
    finally:
        live.config.write_text(good)
        live.recsys("apply")
    assert asked() == 200
