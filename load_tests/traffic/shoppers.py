"""People who look at what they are shown, click and buy, and a ledger of it, which the platform's report must equal.

Whatever is not answered is sent again under the same id, so the ledger knows what became of every request and event.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

_K = 10
_TRIES = 300
_AGAIN_S = 0.1
_SEEN, _CLICKED, _BOUGHT, _SENT_TWICE = 0.6, 0.3, 0.2, 0.3
"""Shares: of the items of an answer that are seen; of the seen that are clicked; of the clicked that are bought; of the
events that are sent twice."""

COUNTS = ("answers", "items", "impressions", "clicks", "conversions", "value")


@dataclass(frozen=True)
class Shown:
    """One answer that came."""

    scenario: str
    version: str
    items: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass
class ShopLedger:
    """What was answered, and which events were acknowledged."""

    shown: dict[str, Shown] = field(default_factory=dict)
    """By request id."""
    unsure: set[str] = field(default_factory=set)
    """Requests that never got an answer: it may have been logged all the same."""
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By event id."""

    def counts(self, by: str | None = None) -> dict[Any, dict[str, float]]:
        """What the report must count, by `position`, `source` or `version`; under None where `by` is None."""
        groups: dict[Any, Counter[str]] = {}
        for shown in self.shown.values():
            keys = {self._key(shown, place, by) for place in range(len(shown.items))} or {self._key(shown, None, by)}
            for key in keys:
                groups.setdefault(key, Counter(dict.fromkeys(COUNTS, 0)))["answers"] += 1
            for place in range(len(shown.items)):
                groups[self._key(shown, place, by)]["items"] += 1
        names = {"impression": "impressions", "click": "clicks", "purchase": "conversions"}
        for event in self.events.values():
            shown = self.shown[event["request_id"]]
            group = groups[self._key(shown, shown.items.index(event["item_id"]), by)]
            group[names[event["type"]]] += 1
            group["value"] += event.get("value", 0.0)
        return {key: dict(group) for key, group in groups.items()}

    @staticmethod
    def _key(shown: Shown, place: int | None, by: str | None) -> Any:
        if by is None:
            return None
        if by == "version":
            return shown.version
        if place is None:
            return 0 if by == "position" else None
        return place + 1 if by == "position" else shown.sources[place]

    def wrong(self, report: Mapping[str, Any], by: str | None = None, missing: int = 0) -> list[str]:
        """Where a report is not what the ledger says.

        `missing`: answers that may not be in the log, because their composer was killed. Then counts by dimension are
        not looked at: all events must be there, in the answers that are or as `unknown`.
        """
        if missing:
            return self._wrong_with_losses(report, missing)
        expected = self.counts(by)
        rows = {None: report["total"]} if by is None else {group[by]: group for group in report["groups"]}
        counts = {key: {name: row[name] for name in COUNTS} for key, row in rows.items()}
        told = [f"{name}: {report[name]}" for name in ("unknown", "untimely", "elsewhere") if report[name]]
        return told + [
            f"{by} {key}: the report says {counts.get(key)}, the ledger {expected.get(key)}"
            for key in expected.keys() | counts.keys()
            if counts.get(key) != expected.get(key)
        ]

    def _wrong_with_losses(self, report: Mapping[str, Any], missing: int) -> list[str]:
        total, told = report["total"], []
        absent = len(self.shown) - total["answers"]
        if not -len(self.unsure) <= absent <= missing:
            told.append(f"{absent} of {len(self.shown)} answers are not in the report; at most {missing} may be")
        events = total["impressions"] + total["clicks"] + total["conversions"] + report["unknown"]
        if events != len(self.events):
            told.append(f"{events} events are in the report, {len(self.events)} in the ledger")
        return told


class Shopper:
    """Asks as fast as it is answered. `http` calls the platform; `scenario`: one of the config file's."""

    def __init__(self, http: httpx.AsyncClient, ledger: ShopLedger, users: int, scenario: str, seed: int) -> None:
        self._http = http
        self._ledger = ledger
        self._users = users
        self._scenario = scenario
        self._random = random.Random(seed)

    async def visit(self) -> None:
        """One answer, and what comes of it."""
        user, request_id = f"shopper-{self._random.randint(1, self._users)}", uuid.uuid4().hex
        body = {"user_id": user, "k": _K, "scenario": self._scenario, "include_seen": True}
        slate = await self._sent("/v1/recommendations", body, {"x-request-id": request_id})
        if slate is None:
            self._ledger.unsure.add(request_id)
            return
        items = tuple(item["item_id"] for item in slate["items"])
        sources = tuple(item["source"] for item in slate["items"])
        self._ledger.shown[request_id] = Shown(slate["scenario"], slate["index_version"], items, sources)
        events = [
            {"event_id": uuid.uuid4().hex, "user_id": user, "request_id": request_id, **what}
            for item in items
            for what in self._deeds(item)
        ]
        again = [event for event in events if self._random.random() < _SENT_TWICE]
        for some in (events, again):
            if some and await self._sent("/v1/events", {"events": some}) is not None:
                self._ledger.events |= {event["event_id"]: event for event in some}

    def _deeds(self, item: str) -> list[dict[str, Any]]:
        chance = self._random.random
        if chance() > _SEEN:
            return []
        deeds: list[dict[str, Any]] = [{"item_id": item, "type": "impression"}]
        if chance() < _CLICKED:
            deeds.append({"item_id": item, "type": "click"})
            if chance() < _BOUGHT:
                deeds.append({"item_id": item, "type": "purchase", "value": float(self._random.randint(1, 64))})
        return deeds

    async def _sent(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        """The body of the answer, however often it has to be asked for; None: there never was one."""
        for _ in range(_TRIES):
            try:
                answer = await self._http.post(path, json=body, headers=dict(headers or {}))
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code == 200:
                return answer.json()
            await asyncio.sleep(_AGAIN_S)
        return None
