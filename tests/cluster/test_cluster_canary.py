"""A version that goes out on the real platform: one that people like less comes back by itself, an equal one goes on to
everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.support.live import Live, event, eventually, recsys_here

pytestmark = pytest.mark.cluster

CROWD = [f"canary-{n}" for n in range(300)]
"""At half of the users, over the 100 a side without which no difference is told."""
FEW = CROWD[:90]
WITHIN_S = 150.0
"""A look every 5 s; what came of an answer is in the files after 10 to 20 s."""
LOOK_S = 0.5
"""Between two of the test's own, which ask for every user or run a command."""


@pytest.fixture
def new_version(live: Live) -> Iterator[str]:
    """Of what is live, not promoted. Afterwards the one before is served, and nobody knows these users."""
    base = live.status()["index_version"]
    yield orjson.loads(live.recsys("build", "--from-live", "--json"))["version"]
    live.reconfigure("canary")
    if live.status()["index_version"] != base:
        live.recsys("rollback")
    assert eventually(lambda: live.status()["index_version"] == base)
    for user in CROWD:
        live.http.delete(f"/v1/users/{user}").raise_for_status()


def promote(live: Live, folder: Path, version: str, shares: str, **canary: Any) -> dict[str, Any]:
    """Send a version out with other settings of canaries, in the file as in the composers."""
    config = yaml.safe_load(live.config.read_text())
    [composer] = [d for d in config["applications"][0]["deployments"] if d["name"] == "Composer"]
    composer["user_config"]["canary"] |= canary
    file = folder / "canary.yaml"
    file.write_text(yaml.safe_dump(config))
    live.reconfigure("canary", **canary)
    told: dict[str, Any] = orjson.loads(recsys_here(file, "promote", version, "--canary", shares, "--json"))
    return told


def visit(live: Live, users: list[str], clicks: Callable[[int, str], bool]) -> dict[str, str]:
    """User -> the version that answered. `clicks`: whether the user of a number clicks on an answer of a version."""
    versions, events = {}, []
    for number, user in enumerate(users):
        slate = live.json("GET", f"/v1/users/{user}/recommendations", k=5)
        assert (len(slate["items"]), slate["degraded"]) == (5, [])
        versions[user] = slate["index_version"]
        if clicks(number, versions[user]):
            named = {"type": "click", "request_id": slate["request_id"]}
            events.append(event(user, slate["items"][0]["item_id"], **named))
    if events:
        assert live.json("POST", "/v1/events", {"events": events})["accepted"] == len(events)
    return versions


def verdict(live: Live, version: str) -> dict[str, Any] | None:
    """How the version did on its way to the users; None: it is on the way."""
    told = orjson.loads(live.recsys("versions", "--json"))
    found: dict[str, Any] | None = next(one["canary"] for one in told if one["version"] == version)
    return found


def test_a_version_that_people_like_less_comes_back_by_itself(live: Live, tmp_path: Path, new_version: str) -> None:
    """Everybody has the one before again, and the reason stays with it."""
    base = live.status()["index_version"]
    told = promote(live, tmp_path, new_version, "50%", step_s=20.0, metric="answer_click_through")
    assert (told["steps"], told["base"]) == ([0.5], base)
    assert eventually(lambda: {*visit(live, FEW[:20], lambda *_: False).values()} == {base, new_version})

    def liking_the_old(number: int, version: str) -> bool:
        return number % 10 < (8 if version == base else 1)

    few = visit(live, FEW, lambda *_: False)  # before anybody clicks: from then on the version may be taken back
    first = visit(live, CROWD, liking_the_old)
    assert min(list(first.values()).count(version) for version in (base, new_version)) > 100
    assert {user: first[user] for user in FEW} == few
    found = eventually(lambda: verdict(live, new_version), WITHIN_S, LOOK_S)
    assert found is not None
    assert (found["outcome"], found["base"], found["share"]) == ("rolled_back", base, 0.5)
    assert found["reason"].startswith("worse: -")
    assert eventually(lambda: {*visit(live, FEW, lambda *_: False).values()} == {base})
    assert live.status()["index_version"] == base
    assert found["reason"] in " ".join(live.recsys("versions").split())


def test_an_equal_version_goes_on_to_everybody(live: Live, tmp_path: Path, new_version: str) -> None:
    """Step by step: who has it keeps it, and no answer is missing or degraded on the way."""
    base = live.status()["index_version"]
    promote(live, tmp_path, new_version, "20%,60%", step_s=4.0, least_answers=10)
    having: list[set[str]] = []

    def everybody() -> bool:
        versions = visit(live, FEW, lambda number, _: number % 2 == 0)
        having.append({user for user, version in versions.items() if version == new_version})
        return len(having[-1]) == len(FEW)

    assert eventually(everybody, WITHIN_S, LOOK_S)
    assert all(before <= after for before, after in pairwise(having))
    assert any(0 < len(some) < len(FEW) for some in having)
    assert eventually(lambda: live.status()["index_version"] == new_version)
    found = eventually(lambda: verdict(live, new_version))
    assert found is not None
    assert (found["outcome"], found["base"]) == ("promoted", base)
