"""What the platform has acknowledged, and the rules that its answers must keep from then on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """Kept by the one that sends the load. Times are monotonic seconds."""

    versions: set[str] = field(default_factory=set)
    """Index versions that answers came from."""
    events: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """User -> event id -> item, acknowledged."""
    seen: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """User -> item -> when its event was acknowledged."""
    titles: dict[str, str | None] = field(default_factory=dict)
    """Item -> its newest acknowledged title; None: deleted."""
    gone: dict[str, float] = field(default_factory=dict)
    """Item -> when its deletion was acknowledged as visible."""
    unsure: set[str] = field(default_factory=set)
    """Items whose last write got no answer: it may have happened or not, and either is right."""
    acknowledged: int = 0
    times: dict[str, float] = field(default_factory=dict)
    """Event id or item -> when its newest write was acknowledged."""

    def liked(self, user: str, event_id: str, item: str) -> None:
        self.events[user][event_id] = item
        self.seen[user][item] = self.times[event_id] = time.monotonic()
        self.acknowledged += 1

    def upserted(self, item: str, title: str) -> None:
        self.titles[item] = title
        self.times[item] = time.monotonic()
        self.gone.pop(item, None)
        self.unsure.discard(item)
        self.acknowledged += 1

    def deleted(self, item: str, *, visible: bool) -> None:
        self.titles[item] = None
        self.times[item] = time.monotonic()
        self.unsure.discard(item)
        if visible:
            self.gone[item] = time.monotonic()
        self.acknowledged += 1

    def forgive(self, since: float) -> int:
        """Writes acknowledged since then may be lost: a setting allows it. How many there were."""
        late = {name for name, at in self.times.items() if at >= since}
        for user, events in self.events.items():
            for event_id in late & events.keys():
                self.seen[user].pop(events.pop(event_id), None)
        items = late & self.titles.keys()
        self.unsure |= items
        for item in items:
            self.gone.pop(item, None)
        return len(late)

    def breaks(self, slate: dict[str, Any], k: int, asked_at: float, user: str | None) -> list[str]:
        """The rules that an answer to a request sent at `asked_at` breaks."""
        items = [item["item_id"] for item in slate["items"]]
        degraded = slate["degraded"]
        breaks = []
        if len(set(items)) < len(items):
            breaks.append(f"an item twice: {items}")
        if len(items) < k and not degraded:
            breaks.append(f"{len(items)} of {k} items, and not degraded")
        self.versions.add(slate["index_version"])
        breaks += [f"{i} was deleted before" for i in items if self.gone.get(i, asked_at) < asked_at]
        if user is not None and "profiles" not in degraded:
            seen = self.seen.get(user, {})
            breaks += [f"{i} was seen by user {user}" for i in items if seen.get(i, asked_at) < asked_at]
        return breaks

    def lost(self, histories: Mapping[str, Iterable[str]], items: Mapping[str, str | None]) -> list[str]:
        """Acknowledged writes that are not in the final state: histories are event ids, items titles."""
        missing = [
            f"event {event} of user {user}"
            for user, events in self.events.items()
            for event in events.keys() - set(histories[user])
        ]
        wrong = [
            f"item {item}: {items[item]!r} and not {title!r}"
            for item, title in self.titles.items()
            if item not in self.unsure and items[item] != title
        ]
        return missing + wrong
