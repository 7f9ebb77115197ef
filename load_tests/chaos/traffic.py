"""A constant load: requests leave by the clock, whatever becomes of those before them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from load_tests.chaos.ledger import Ledger

USERS = 943
_K = 10
_THEMES = ("a space opera", "a comedy about a wedding", "war at sea", "a detective in the rain", "for children")
_CROWD = 30
_OWN = 400
"""Items of the load's own: they are written, deleted and written again."""


@dataclass
class Record:
    """What became of the requests of one fault."""

    requests: int = 0
    failed: int = 0
    """No answer, or one that the API does not document for a part that is away."""
    refused: int = 0
    """503 with Retry-After: nothing was changed, try again. What needs a part that is away is answered so."""
    overloaded: int = 0
    """429 with Retry-After."""
    degraded: int = 0
    rule_breaks: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)
    """When a read was answered, monotonic seconds."""

    def gap_s(self, start: float, end: float) -> float:
        """The longest time without a read that was answered."""
        times = [start, *sorted(self.answered), end]
        return max(b - a for a, b in itertools.pairwise(times))


class Traffic:
    def __init__(self, url: str, ledger: Ledger, rate: float, seed: int = 7) -> None:
        self._url = url
        self._http = httpx.AsyncClient(
            base_url=url, timeout=10, trust_env=False, limits=httpx.Limits(max_connections=None)
        )
        self.ledger = ledger
        self._rate = rate
        self._random = random.Random(seed)
        self.record = Record()
        self._writing: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; returns when all that was sent is over."""
        async with asyncio.TaskGroup() as group:
            start, sent = time.monotonic(), 0
            while not stop.is_set():
                group.create_task(self._one())
                sent += 1
                await asyncio.sleep(max(0.0, start + sent / self._rate - time.monotonic()))

    async def close(self) -> None:
        await self._http.aclose()

    async def burst(self, requests: int) -> Record:
        """So many searches at once, nearly each of a text that must be encoded: other reads come slower than they are
        served. From several clients: the pool of one looks through all of its connections for every request.
        """
        crowd = [Traffic(self._url, self.ledger, self._rate, seed) for seed in range(_CROWD)]
        burst = Record()
        for client in crowd:
            client.record = burst
        await asyncio.gather(*(client._search() for client in crowd for _ in range(requests // _CROWD)))  # noqa: SLF001
        for client in crowd:
            await client.close()
        return burst

    async def _one(self) -> None:
        kind = self._random.choices(("read", "search", "similar", "event", "upsert", "delete"), (60, 6, 6, 18, 7, 3))[0]
        await getattr(self, f"_{kind}")()

    async def _read(self) -> None:
        user = str(self._random.randint(1, USERS))
        await self._slate("GET", f"/v1/users/{user}/recommendations", user, params={"k": _K})

    async def _search(self) -> None:
        text = f"{self._random.choice(_THEMES)} {self._random.randint(1, 5000)}"
        await self._slate("POST", "/v1/search", None, json={"text": text, "k": _K})

    async def _similar(self) -> None:
        await self._slate("GET", f"/v1/items/{self._random.randint(1, 100)}/similar", None, params={"k": _K})

    async def _event(self) -> None:
        user, item = str(self._random.randint(1, USERS)), str(self._random.randint(1, 1682))
        event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "type": "like"}
        answer = await self._send("POST", "/v1/events", json={"events": [event]})
        if answer is not None and answer["accepted"] == 1:
            self.ledger.liked(user, event["event_id"], item)

    async def _upsert(self) -> None:
        item, title = self._own(), f"{self._random.choice(_THEMES)}, take {uuid.uuid4().hex[:8]}"
        if item is None:
            return
        try:
            self.ledger.gone.pop(item, None)  # from now on it may be there again
            if await self._send("PUT", f"/v1/items/{item}", json={"title": title}) is not None:
                self.ledger.upserted(item, title)
            else:
                self.ledger.unsure.add(item)
        finally:
            self._writing.discard(item)

    async def _delete(self) -> None:
        item = self._own()
        if item is None:
            return
        try:
            if self.ledger.titles.get(item) is None or item in self.ledger.unsure:
                return
            answer = await self._send("DELETE", f"/v1/items/{item}", params={"wait": "visible"})
            if answer is not None:
                self.ledger.deleted(item, visible=bool(answer["visible"]))
            else:
                self.ledger.unsure.add(item)
        finally:
            self._writing.discard(item)

    def _own(self) -> str | None:
        """An item of ours; None while it is being written: what order two writes took could not be told."""
        item = f"chaos-{self._random.randint(1, _OWN)}"
        if item in self._writing:
            return None
        self._writing.add(item)
        return item

    async def _slate(self, method: str, path: str, user: str | None, **how: Any) -> None:
        asked_at = time.monotonic()
        slate = await self._send(method, path, **how)
        if slate is not None:
            self.record.answered.append(time.monotonic())
            self.record.degraded += bool(slate["degraded"])
            self.record.rule_breaks += self.ledger.breaks(slate, _K, asked_at, user)

    async def _send(self, method: str, path: str, **how: Any) -> dict[str, Any] | None:
        """The body of a 200; None for everything else, which is counted."""
        record = self.record
        record.requests += 1
        try:
            answer = await self._http.request(method, path, **how)
        except httpx.HTTPError as error:
            record.failed += 1
            record.failures[f"{method} {type(error).__name__}"] += 1
            return None
        if answer.status_code == 200:
            body: dict[str, Any] = answer.json()
            return body
        if answer.status_code == 429 and "retry-after" in answer.headers:
            record.overloaded += 1
        elif answer.status_code == 503 and "retry-after" in answer.headers:
            record.refused += 1
        else:
            record.failed += 1
            record.failures[f"{method} {answer.status_code} {answer.text[:100]}"] += 1
        return None
