"""What writes items to a running platform, and erases them: `item_writes`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson

ItemOut = dict[str, str]
"""item_id, title and text."""
Encode = Callable[[list[str]], npt.NDArray[np.float32]]

_ERASERS = 4
"""Connections by which items are erased."""
_LIKES = 10
_WORDS = """
    amber anchor archive autumn bakery ballad basin beacon border bridge canal candle carpet castle cellar chapel
    cinema circus cliff clock coast colony comet copper corner cotton courier crater crossing crystal dancer desert
    diary doctor dragon engine evening exile factory falcon ferry fiddle forest fountain garden ghost glacier
    granite harbour harvest hollow horizon hotel hunter island ivory journey jungle keeper kingdom kitchen ladder
    lagoon lantern letter lighthouse lullaby machine market marsh meadow memory merchant midnight miner mirror
    monsoon mountain museum oasis ocean orchard orphan painter palace parade pilot pirate planet pocket prairie
    prison puzzle railway rebel ribbon river rocket sailor salt satellite season secret shadow shepherd signal
    silver sister station storm stranger summer teacher temple theatre thunder tiger tower tunnel valley velvet
    village violin volcano voyage wanderer water weaver whisper widow window winter witness wolf writer
""".split()  # noqa: SIM905 - a list of so many words is a page


@dataclass(frozen=True)
class Texts:
    """Made-up items with some twenty words each, no two alike."""

    seed: int

    def items(self, numbers: Sequence[int]) -> list[ItemOut]:
        return [self._item(number) for number in numbers]

    def _item(self, number: int) -> ItemOut:
        words = np.random.default_rng([self.seed, number]).choice(_WORDS, 20)
        title, text = " ".join(words[:4]).title(), f"{' '.join(words[4:])}, {number}"
        return {"item_id": f"writes-{number}", "title": title, "text": text}


@dataclass
class Writer:
    """Of a running platform."""

    url: str
    encode: Encode

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def like(self, users: int, items: int) -> None:
        """Give each of the users 1 to `users` some likes among the first `items`. To do so again changes nothing."""
        liked = np.random.default_rng(11).integers(items, size=(users, _LIKES)).tolist()
        events = [
            {"event_id": f"writes-{user}-{n}", "user_id": str(user), "item_id": f"writes-{item}", "type": "like"}
            for user, theirs in enumerate(liked, 1)
            for n, item in enumerate(theirs)
        ]
        for start in range(0, len(events), 1000):
            self._http.post("/v1/events", json={"events": events[start : start + 1000]}).raise_for_status()

    def body(self, items: Sequence[ItemOut], *, vectors: bool) -> bytes:
        """Of a call, with or without vectors in it."""
        given: list[dict[str, Any]] = list(items)
        if vectors:
            encoded = self.encode([f"{item['title']}. {item['text']}" for item in items])
            given = [{**one, "vector": vector} for one, vector in zip(given, encoded, strict=True)]
        return orjson.dumps({"items": given}, option=orjson.OPT_SERIALIZE_NUMPY)

    def write(self, body: bytes) -> float:
        """Seconds until all of the call is visible."""
        start = time.perf_counter()
        answer = self._http.post(
            "/v1/items?wait=visible", content=body, headers={"content-type": "application/json"}
        ).raise_for_status()
        taken = time.perf_counter() - start
        said = answer.json()
        if said["refused_count"] or not all(one["visible"] for one in said["written"]):
            raise SystemExit(f"the items are not visible after {taken:.1f} s: {answer.text[:300]}")
        return taken

    def erase(self, items: Sequence[ItemOut]) -> None:
        with ThreadPoolExecutor(_ERASERS) as pool:
            list(pool.map(self._erase_one_by_one, [items[n::_ERASERS] for n in range(_ERASERS)]))

    def _erase_one_by_one(self, items: Sequence[ItemOut]) -> None:
        """Not by httpx: for a call it takes 0.43 ms of CPU, more than the composer and five times as much as this."""
        connection = HTTPConnection(self._http.base_url.host, self._http.base_url.port, timeout=60)
        for item in items:
            connection.request("DELETE", f"/v1/items/{item['item_id']}")
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != HTTPStatus.OK:
                raise SystemExit(f"{item['item_id']} is not erased: {answer.status} {said[:300]!r}")
        connection.close()
