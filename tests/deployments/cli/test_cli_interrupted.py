"""Imports of which the sender or the server is killed on the way: the same command again, and nothing is there twice
and nothing is lost.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from deployments.cli import main
from recsys.state import item_counts, redis_keys
from recsys.state.connection import connect
from recsys.state.users import UserStore
from tests.support import served_world
from tests.support.live import free_ports, local_config
from tests.support.own_valkey import Valkey
from tests.support.world import catalogue

IDS = [item.item_id for item in catalogue()]
USERS, EACH = 800, 30
EVENTS = [(f"u{u}", IDS[(u + n) % len(IDS)], 1_700_000_000 + n // 3) for u in range(USERS) for n in range(EACH)]
"""24,000 events, of which three of each user have one time."""


class Sender:
    """`recsys import` in a process of its own; what it says is in a file."""

    def __init__(self, said: Path, *arguments: object) -> None:
        self._said = said
        self.process = served_world.in_a_fork(_import, said, *map(str, arguments))

    def ended(self, within_s: float) -> int:
        """The exit code."""
        self.process.join(within_s)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def said(self) -> str:
        return self._said.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL


def _import(said: Path, *arguments: str) -> None:
    os.environ["COLUMNS"] = "300"
    with said.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.argv = ["recsys", "import", *arguments]
    main()


Command = Callable[..., Sender]


class Platform:
    """The HTTP API in a process of its own; what it keeps is under `root` and in Valkey."""

    def __init__(self, root: Path, redis_url: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._arguments = (root, redis_url, port)
        self._process: BaseProcess | None = None
        self.http = httpx.Client(base_url=self.url, trust_env=False)

    def start(self) -> None:
        self._process = served_world.start(*self._arguments)
        wait(self._answers, pause_s=0.1)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.is_alive()
        try:
            return self.http.get(f"/v1/items/{IDS[0]}").status_code == 200
        except httpx.TransportError:
            return False


def wait(until: Callable[[], bool], within_s: float = 120, pause_s: float = 0.005) -> None:
    deadline = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < deadline
        time.sleep(pause_s)


@pytest.fixture
def platform(tmp_path: Path, own_valkey: Valkey) -> Iterator[Platform]:
    made = Platform(tmp_path / "versions", own_valkey.url, free_ports()["http"])
    made.start()
    yield made
    made.kill()
    made.http.close()


@pytest.fixture
def command(tmp_path: Path, platform: Platform) -> Command:
    """`recsys import` in a process of its own."""
    port = int(platform.url.rpartition(":")[2])
    config = local_config(tmp_path / "config.yaml", data_dir=str(tmp_path / "var"), http_port=port)

    return lambda *arguments: Sender(tmp_path / "said", *arguments, "--config", config, "--json")


async def stored(url: str) -> tuple[Counter[tuple[str, str, float]], int]:
    """Events in the histories, and likes of all items."""
    events: Counter[tuple[str, str, float]] = Counter()
    async with connect(url, timeout_s=20) as redis:
        async for _, page in UserStore(redis, ttl_s=60, history=1000).everyone():
            events.update((e.user_id, e.item_id, e.timestamp) for history in page for e in history)
        counts = await item_counts.read(redis, IDS)
    return events, int(sum(counts.likes))


async def users(redis: Redis) -> int:
    """Users with a history."""
    return len({key async for key in redis.scan_iter(match=redis_keys.events("*"), count=10_000)})


@pytest.mark.timeout(300)
async def test_an_import_of_events_that_was_killed_goes_on(
    tmp_path: Path, platform: Platform, command: Command, own_valkey: Valkey, own_redis: Redis
) -> None:
    """First the sender is killed, then the server; the third time all goes in, each event once, and no id was given."""
    file = tmp_path / "events.csv"
    rows = [f"{user},{item},like,{when}" for user, item, when in EVENTS]
    file.write_text("\n".join(["user_id,item_id,type,timestamp", *rows]))

    for killed in ("sender", "server"):
        before = await users(own_redis)
        sender = command("events", file)
        while await users(own_redis) <= before + 1:
            assert sender.process.is_alive(), sender.said()
            await asyncio.sleep(0.005)
        if killed == "sender":
            sender.kill()
        else:
            platform.kill()
            assert sender.ended(120) == 1, sender.said()
            assert "does not answer" in sender.said().strip().splitlines()[-1]
            platform.start()
        events, _ = await stored(own_valkey.url)
        assert 0 < len(events) < len(EVENTS)
        assert max(events.values()) == 1
    sender = command("events", file)
    assert sender.ended(200) == 0, sender.said()
    events, likes = await stored(own_valkey.url)
    assert events == Counter((user, item, float(when)) for user, item, when in EVENTS)
    assert likes == len({(user, item) for user, item, _ in EVENTS})


@pytest.mark.timeout(300)
def test_an_import_of_items_that_was_killed_goes_on(tmp_path: Path, platform: Platform, command: Command) -> None:
    """Of items that are changed and such that are new the last word counts, however often it was said."""
    file = tmp_path / "items.csv"
    names = [f"new-{n}" for n in range(3000)]
    file.write_text("\n".join(["item_id,title", *(f"{name},Lamp number {n}" for n, name in enumerate(names))]))

    def there(name: str) -> bool:
        return platform.http.get(f"/v1/items/{name}").status_code == 200

    sender = command("items", file)
    wait(lambda: there(names[0]))
    sender.kill()
    assert not there(names[-1])
    sender = command("items", file)
    assert sender.ended(200) == 0, sender.said()
    wait(lambda: there(names[-1]))
    for number, name in itertools.islice(enumerate(names), 0, None, 37):
        assert platform.http.get(f"/v1/items/{name}").json()["title"] == f"Lamp number {number}"
    found = platform.http.post("/v1/search", json={"text": "Lamp number 7", "k": 50}).json()["items"]
    assert len({item["item_id"] for item in found}) == len(found)
