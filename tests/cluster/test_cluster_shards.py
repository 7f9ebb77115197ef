"""The number of shards changes on the real platform, under reads, events, upserts and deletes."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import psutil
import pytest
import yaml

from deployments.machine.serve_config import read_for_serve
from deployments.machine.shard_move import ShardMove
from load_tests.chaos.halt import halted
from tests.support.live import COMMAND, REPOSITORY, Live, event, eventually, refused_here

pytestmark = pytest.mark.cluster


def with_shards(live: Live, shards: int) -> None:
    """Change the platform's config file to so many shards, all like shard-0."""
    known = yaml.safe_load(live.config.read_text())
    application = known["applications"][0]
    application["args"]["shards"] = shards
    parts = {part["name"]: part for part in application["deployments"]}
    application["deployments"] = [part for name, part in parts.items() if not name.startswith("shard-")]
    application["deployments"] += [parts["shard-0"] | {"name": f"shard-{number}"} for number in range(shards)]
    live.config.write_text(yaml.safe_dump(known))


class Traffic:
    """What was written and acknowledged, and what went wrong."""

    def __init__(self, live: Live) -> None:
        self._url = live.instance.api_url
        self._over = threading.Event()
        self.titles: dict[str, str] = {}
        self.gone: set[str] = set()
        self.wrong: list[Any] = []
        self.reads = self.likes = 0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._each, args=(work,)) for work in (self._read, self._like, self._write)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _each(self, work: Callable[[httpx.Client, int], None]) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as http:
            for n in itertools.count():
                if self._over.wait(0.25):  # the build needs the machine, too
                    return
                try:
                    work(http, n)
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))

    def _answer(self, answer: httpx.Response, status: int = 200) -> dict[str, Any]:
        said: dict[str, Any] = answer.json()
        if answer.status_code != status or said.get("degraded"):
            self.wrong.append((str(answer.request.url), answer.status_code, said))
        return said

    def _read(self, http: httpx.Client, n: int) -> None:
        self._answer(http.get(f"/v1/users/{n % 900 + 1}/recommendations", params={"k": 5}))
        self.reads += 1

    def _like(self, http: httpx.Client, n: int) -> None:
        """What is liked is not in the very next answer."""
        user = f"mover-{n}"
        self.likes = n + 1
        first = self._answer(http.post("/v1/recommendations", json={"user_id": user, "k": 3}))
        liked = first["items"][0]["item_id"]
        self._answer(http.post("/v1/events", json={"events": [event(user, liked)]}))
        after = self._answer(http.post("/v1/recommendations", json={"user_id": user, "k": 50}))
        if liked in {item["item_id"] for item in after["items"]}:
            self.wrong.append(f"{user} liked {liked}, which was in the next answer")

    def _write(self, http: httpx.Client, n: int) -> None:
        item_id, title = f"moved-{n}", f"Moved {n}"
        body = {"title": title, "attributes": {"language": "moving"}}
        written = self._answer(http.put(f"/v1/items/{item_id}", json=body, params={"wait": "visible"}))
        if written.get("visible") is not True:
            self.wrong.append(written)
        if self._answer(http.get(f"/v1/items/{item_id}")).get("title") != title:
            self.wrong.append(f"{item_id} was not found")
        self.titles[item_id] = title
        if n % 3 == 0:
            self._answer(http.delete(f"/v1/items/{item_id}", params={"wait": "visible"}))
            self._answer(http.get(f"/v1/items/{item_id}"), 404)
            self.gone.add(item_id)


def composers(live: Live) -> set[str]:
    return {composer["id"] for composer in live.status()["composers"]}


def killed_in_the_middle(live: Live, traffic: Traffic) -> None:
    """Begin `recsys apply`, and kill it when items are written for the shards of before and for the new ones."""
    move = ShardMove(read_for_serve(live.config), live.instance.redis_url)
    command = [*COMMAND, "apply", "--config", str(live.config)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: move.begun() or process.poll() is not None, every_s=0.1)
        with halted(psutil.Process(process.pid)):  # else it may come to its end before it is killed
            written = len(traffic.titles)
            assert eventually(lambda: len(traffic.titles) > written + 1)
            process.kill()
    finally:
        process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert move.begun()


def test_shards_change_while_the_platform_serves(live: Live) -> None:
    """From 2 to 3, by a command that is killed on the way and then given again, and back: no request fails, no answer
    lacks a part, every acknowledged write is there, what was deleted is not, and no composer is started anew. Then
    there is no way back to versions of the shards of before.
    """
    before, traffic = composers(live), Traffic(live)
    items, shards = live.status()["items"], []
    try:
        with traffic.under_way():
            with_shards(live, 3)
            killed_in_the_middle(live, traffic)
            reads = traffic.reads
            assert eventually(lambda: traffic.reads > reads + 5)
            for number in (3, 2):
                with_shards(live, number)
                said = orjson.loads(live.recsys("apply", "--json"))
                assert said["applied"] is True
                assert {one["new"] for one in said["changes"] if one["setting"] == "args.shards"} <= {number}
                shards.append([len(shard["replicas"]) for shard in live.status()["shards"]])
    finally:
        with_shards(live, 2)
    assert traffic.wrong == []
    assert shards == [[1, 1, 1], [1, 1]]
    assert traffic.reads > 20
    assert composers(live) == before
    assert orjson.loads(live.recsys("apply", "--json"))["changes"] == []
    moving = {"must": [{"key": "language", "eq": "moving"}]}
    left = traffic.titles.keys() - traffic.gone
    found = {item["item_id"] for item in live.recommend(None, k=100, filter=moving)}
    assert found <= left
    assert len(found) == min(len(left), 100)
    assert live.status()["items"] == items + len(left)
    for item_id in left:
        assert live.json("GET", f"/v1/items/{item_id}")["title"] == traffic.titles[item_id]
    assert "was built for 3 shards, the served one has 2" in " ".join(refused_here(live.config, "rollback").split())
    for item_id in left:
        live.json("DELETE", f"/v1/items/{item_id}", wait="visible")
    for number in range(traffic.likes):
        live.json("DELETE", f"/v1/users/mover-{number}")  # else they are the newest users that a training learns from
