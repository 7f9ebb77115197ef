"""Items that shards held a moment ago. Events that are loaded in bulk name the same items again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable

SURE_S = 2.0
"""Seconds for which an item that was there counts as there."""
_MOST = 100_000
"""Items that are remembered: about 10 MB."""


class PresentItems:
    """Of one version at a time."""

    def __init__(self) -> None:
        self._version = ""
        self._until: dict[str, float] = {}
        """By item id: until when it counts as there, in monotonic seconds."""

    def unsure(self, version: str, item_ids: Iterable[str]) -> list[str]:
        """Return the items of which the shards have to be asked."""
        if version != self._version:
            self._version, self._until = version, {}
        now, until = time.monotonic(), self._until
        return [item_id for item_id in item_ids if until.get(item_id, 0.0) <= now]

    def note(self, version: str, item_ids: Iterable[str]) -> None:
        """Remember items that shards hold now."""
        if version == self._version:
            if len(self._until) > _MOST:
                self._until = {}
            self._until |= dict.fromkeys(item_ids, time.monotonic() + SURE_S)
