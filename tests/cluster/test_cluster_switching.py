"""Another version takes over on the real platform, and is taken back, under a constant load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.live import Live, eventually, ids

pytestmark = pytest.mark.cluster


class Load:
    """Calls all the while; `failed` are those that got no 200, `answers` the others."""

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
                self._over.wait(0.05)


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
