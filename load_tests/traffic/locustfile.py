"""What users of a shop or a media site do to the platform, over HTTP only; every answer is checked.

`python -m load_tests.traffic.run` runs it; `locust -f load_tests/traffic/locustfile.py --host URL` opens Locust's page.
"""

from __future__ import annotations

import json
import math
import random
import time
import uuid
from collections import defaultdict, deque
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import gevent
from locust import FastHttpUser, events, tag, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment

from load_tests.traffic.shapes import SHAPES, Traffic
from load_tests.traffic.summary import BUSY, Tally, options_of, write_summary
from load_tests.traffic.timeline import Timeline

__all__ = ["Traffic", "Visitor"]

_PHRASES = ("a funny film for children", "war and love", "detective in a dark city", "space adventure", "true story")
_UPSERTED = 200
"""Items that the test writes, again and again, under ids of its own."""


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--shape", choices=list(SHAPES), default="sustain", env_var="LOAD_SHAPE")
    parser.add_argument("--peak", type=int, default=100, env_var="LOAD_PEAK", help="requests a second at the most")
    parser.add_argument("--seconds", type=int, default=60, env_var="LOAD_SECONDS")
    parser.add_argument("--user-base", type=int, default=943, env_var="LOAD_USER_BASE", help="ids go from 1 to this")
    parser.add_argument("--zipf", type=float, default=1.0, env_var="LOAD_ZIPF", help="0: all users alike")
    parser.add_argument("--summary", default="", help="file that gets the result as JSON")
    parser.add_argument("--timeline", default="", help="file that gets it second by second, as JSON")


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    options = options_of(environment)
    order = random.Random(7).sample(range(1, options.user_base + 1), options.user_base)
    Visitor.ids = [str(n) for n in order]
    Visitor.cumulative = list(accumulate(1 / rank**options.zipf for rank in range(1, options.user_base + 1)))
    Visitor.tally = Tally()
    Visitor.timeline = Timeline()


@events.request.add_listener
def note(start_time: float, response_time: float, exception: Exception | None, **_: Any) -> None:
    Visitor.timeline.add(start_time, response_time, failed=exception is not None)


@events.quitting.add_listener
def finish(environment: Environment, **_: Any) -> None:
    write_summary(environment, Visitor.tally)
    if file := options_of(environment).timeline:
        Path(file).write_text(json.dumps(Visitor.timeline.rows()))


def _description() -> str:
    """What is searched for: a few words or a paragraph, hardly ever the same twice."""
    phrases = random.choices(_PHRASES, k=random.randint(1, 20))
    return ", ".join([*phrases, f"number {random.randrange(10_000)}"])


class Visitor(FastHttpUser):
    """One request a second, each user at a moment of its own within the second.

    Locust's `constant_throughput` counts from the last request: users that a stall of the client makes send at one
    moment would send together ever after.
    """

    connection_timeout = network_timeout = 10.0

    ids: list[str]
    cumulative: list[float]
    tally: Tally
    timeline: Timeline
    shown: ClassVar[deque[str]] = deque(["1"], maxlen=500)
    """Items of recent answers: what events, exclusions and similar items are about."""
    done: ClassVar[dict[str, set[str]]] = defaultdict(set)
    """User -> items of acknowledged events, which may not be recommended to that user again."""

    def on_start(self) -> None:
        self._due_s = time.monotonic() + random.random()
        gevent.sleep(self._due_s - time.monotonic())

    def wait_time(self) -> float:
        now = time.monotonic()
        self._due_s += max(1, math.ceil(now - self._due_s))
        return self._due_s - now

    @tag("recommendations")
    @task(40)
    def recommendations(self) -> None:
        user = self._someone()
        unwanted = set(self.done[user])
        path = f"/v1/users/{quote(user, safe='')}/recommendations?k=10"
        with self.client.get(path, name="GET recommendations", catch_response=True) as response:
            self._check(response, k=10, unwanted=unwanted)

    @tag("recommendations")
    @task(40)
    def recommendations_with_exclusions(self) -> None:
        user, k = self._someone(), random.choice((5, 10, 20))
        exclude = random.sample(self.shown, min(5, len(self.shown)))
        unwanted = self.done[user] | set(exclude)
        body = {"user_id": user, "k": k, "exclude": exclude}
        with self.client.post(
            "/v1/recommendations", json=body, name="POST recommendations", catch_response=True
        ) as response:
            self._check(response, k=k, unwanted=unwanted)

    @tag("events")
    @task(10)
    def event(self) -> None:
        user, item = self._someone(), random.choice(self.shown)
        event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "type": "like"}
        with self.client.post(
            "/v1/events", json={"events": [event]}, name="POST events", catch_response=True
        ) as response:
            body = self._answer(response)
            if body is not None and body["accepted"] != 1:
                response.failure(f"the event was not accepted: {response.text}")
            elif body is not None:
                self.done[user].add(item)

    @tag("search")
    @task(5)
    def search(self) -> None:
        body = {"text": _description(), "user_id": self._someone(), "k": 10}
        with self.client.post("/v1/search", json=body, name="POST search", catch_response=True) as response:
            self._check(response, k=10, unwanted=set())

    @tag("similar")
    @task(3)
    def similar(self) -> None:
        item = random.choice(self.shown)
        path = f"/v1/items/{quote(item, safe='')}/similar?k=10"
        with self.client.get(path, name="GET similar", catch_response=True) as response:
            self._check(response, k=10, unwanted={item})

    @tag("items")
    @task(2)
    def upsert(self) -> None:
        number = random.randrange(_UPSERTED)
        body = {"title": f"Load test {number}", "text": f"{random.choice(_PHRASES)}, told for the {number}th time"}
        with self.client.put(
            f"/v1/items/load-test-{number}", json=body, name="PUT items", catch_response=True
        ) as response:
            written = self._answer(response)
            if written is not None and not written["sequence"]:
                response.failure(f"no place in the log: {response.text}")

    def _someone(self) -> str:
        return random.choices(self.ids, cum_weights=self.cumulative)[0]

    def _answer(self, response: ResponseContextManager) -> dict[str, Any] | None:
        """The body of a good answer. An overloaded platform's 429 is counted under a name of its own."""
        if response.status_code == 429:
            response.request_meta["name"] += BUSY
            response.success()
            return None
        if response.status_code != 200:
            response.failure(f"{response.status_code} {(response.text or '')[:200]}")
            return None
        return response.json()

    def _check(self, response: ResponseContextManager, *, k: int, unwanted: set[str]) -> None:
        """As many items as asked for, with titles, none twice, none that was excluded."""
        slate = self._answer(response)
        if slate is None:
            return
        self.tally.count(response.request_meta["name"], slate["degraded"])
        ids = [item["item_id"] for item in slate["items"]]
        if len(ids) != k:
            response.failure(f"{len(ids)} items instead of {k}")
        elif len(set(ids)) != k:
            response.failure("an item twice")
        elif not all(item["title"] for item in slate["items"]):
            response.failure("an item without a title")
        elif not slate["degraded"] and unwanted & set(ids):
            response.failure("an excluded item came back")
        self.shown.extend(ids[:3])
