"""People with favourite genres who visit the demo: `python -m load_tests.traffic.visitors [--people 4000]`.

Each likes three films of a favourite genre, then visits some times, looks down the list, and clicks on films of the
favourite genres four times as readily as on others. They are the same people in every run, so two settings can be
compared by what they click on: docs/experiments.md does it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

_LOOKS_ON = 0.93
"""Share of the people that look at the next place, too."""
_CLICKS = {True: 0.16, False: 0.04}
"""Share of the films looked at that are clicked on: of a favourite genre, and others."""
_VISITS = (1, 1, 2, 3, 5)
_AT_A_TIME = 8


class Visitor:
    def __init__(self, number: int, films: Mapping[str, list[str]]) -> None:
        """`films`: genre -> ids."""
        self.user = f"visitor-{number}"
        self._random = random.Random(number)
        self._favourites = self._random.sample(sorted(films), 2)
        self._liked = self._random.sample(films[self._favourites[0]], min(3, len(films[self._favourites[0]])))
        self.visits = self._random.choice(_VISITS)

    def begins(self) -> list[dict[str, Any]]:
        """What is known of the visitor before the first visit."""
        return [
            {"event_id": f"{self.user}-{film}", "user_id": self.user, "item_id": film, "type": "like"}
            for film in self._liked
        ]

    def clicks(self, slate: Mapping[str, Any], genres: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        events = []
        for item in slate["items"]:
            favourite = bool({*genres[item["item_id"]]} & {*self._favourites})
            if self._random.random() < _CLICKS[favourite]:
                events.append(
                    {
                        "event_id": uuid.uuid4().hex,
                        "user_id": self.user,
                        "item_id": item["item_id"],
                        "type": "click",
                        "request_id": slate["request_id"],
                    }
                )
            if self._random.random() > _LOOKS_ON:
                break
        return events


async def run(url: str, people: int, first: int) -> dict[str, int]:
    """Let them all visit. Return what they did."""
    key = os.environ.get("RECSYS_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    done = {"visits": 0, "clicks": 0}
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False, headers=headers) as http:
        genres = await _genres(http)
        films: dict[str, list[str]] = {}
        for film, own in genres.items():
            for genre in own:
                films.setdefault(genre, []).append(film)
        films = {genre: ids for genre, ids in films.items() if len(ids) >= 20}
        waiting = iter(range(first, first + people))

        async def work() -> None:
            for number in waiting:
                visitor = Visitor(number, films)
                await _sent(http, visitor.begins())
                for _ in range(visitor.visits):
                    slate = await http.get(f"/v1/users/{visitor.user}/recommendations", params={"k": 10})
                    events = visitor.clicks(slate.raise_for_status().json(), genres)
                    await _sent(http, events)
                    done["visits"] += 1
                    done["clicks"] += len(events)

        await asyncio.gather(*(work() for _ in range(_AT_A_TIME)))
    return done


async def _genres(http: httpx.AsyncClient) -> dict[str, list[str]]:
    """Film -> its genres."""
    genres: dict[str, list[str]] = {}
    cursor: str | None = None
    while True:
        query = {"limit": 500} | ({} if cursor is None else {"cursor": cursor})
        page = (await http.get("/v1/items", params=query)).raise_for_status().json()
        genres |= {item["item_id"]: item["attributes"].get("genres", []) for item in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return genres


async def _sent(http: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
    if events:
        (await http.post("/v1/events", json={"events": events})).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m load_tests.traffic.visitors", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the platform")
    parser.add_argument("--people", type=int, default=4000)
    parser.add_argument("--first", type=int, default=0, help="number of the first: other people than in a run before")
    given = parser.parse_args()
    done = asyncio.run(run(given.url, given.people, given.first))
    print(f"{given.people} people made {done['visits']} visits and {done['clicks']} clicks")


if __name__ == "__main__":
    main()
