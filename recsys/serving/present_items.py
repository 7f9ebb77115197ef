"""Items that shards held a moment ago. Events that are loaded in bulk name the same items again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable

SURE_S = 2.0
"""Seconds for which an item that was there counts as there."""
_MOST = 100_000
"""Items noted within that time that are remembered: about 10 MB."""


class PresentItems:
    """Of one version at a time. Two generations of items, each noted within `SURE_S`: what is older is dropped with the
    older one, so that what is remembered follows the rate of events, and not the size of the catalogue.
    """

    def __init__(self) -> None:
        self._version = ""
        self._since = 0.0
        """Monotonic seconds at which the younger generation began."""
        self._until: dict[str, float] = {}
        """By item id: until when it counts as there, in monotonic seconds."""
        self._before: dict[str, float] = {}
        """The same of the older generation."""

    def __len__(self) -> int:
        """Number of items in memory."""
        return len(self._until) + len(self._before)

    def unsure(self, version: str, item_ids: Iterable[str]) -> list[str]:
        """Return the items of which the shards have to be asked."""
        if version != self._version:
            self._version, self._until, self._before = version, {}, {}
        now, until, before = time.monotonic(), self._until, self._before
        return [item_id for item_id in item_ids if (until.get(item_id) or before.get(item_id, 0.0)) <= now]

    def note(self, version: str, item_ids: Iterable[str]) -> None:
        """Remember items that shards hold now."""
        if version == self._version:
            now = time.monotonic()
            if now - self._since > SURE_S or len(self._until) > _MOST:
                self._before, self._until, self._since = self._until, {}, now
            self._until |= dict.fromkeys(item_ids, now + SURE_S)
