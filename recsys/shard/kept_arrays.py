"""What was computed for users who came before, kept for the next time: arrays by what they follow from."""

from __future__ import annotations

import threading
import time
from typing import Generic, Protocol, TypeVar

LASTS_S = 300.0
"""Seconds for which an array is kept: a shard is not told when a user is erased."""
_HELD = 700
"""Bytes of what holds the others together, for each array."""

Cause = tuple[bytes, ...]


class Held(Protocol):
    """An array, or several."""

    @property
    def nbytes(self) -> int: ...


H = TypeVar("H", bound=Held)


class KeptArrays(Generic[H]):
    """May be called by several threads. The oldest entries leave first. `most`: bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.bytes = 0
        self._lock = threading.Lock()
        self._by_key: dict[bytes, tuple[Cause, H, float]] = {}
        """The last is when it was put there, by time.monotonic()."""

    def __len__(self) -> int:
        return len(self._by_key)

    def take(self, key: bytes, cause: Cause = ()) -> H | None:
        """The array; None: with this key came another cause, or nothing."""
        kept = self._by_key.get(key)
        return kept[1] if kept is not None and kept[0] == cause else None

    def younger(self, key: bytes, seconds: float) -> bool:
        """Whether an array was put there, for whatever cause, no longer ago."""
        kept = self._by_key.get(key)
        return kept is not None and time.monotonic() - kept[2] < seconds

    def put(self, key: bytes, array: H, cause: Cause = ()) -> None:
        """Keep it in place of what the key had. It may not change afterwards. With an empty key nothing is kept."""
        if not key:
            return
        with self._lock:
            before = self._by_key.pop(key, None)
            self.bytes += _bytes(key, cause, array) - (0 if before is None else _bytes(key, *before[:2]))
            self._by_key[key] = cause, array, time.monotonic()
            while self.bytes > self._most:
                self._drop_oldest()

    def expire(self) -> None:
        """Drop what is older than LASTS_S."""
        oldest_at = time.monotonic() - LASTS_S
        with self._lock:
            while self._by_key and next(iter(self._by_key.values()))[2] < oldest_at:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._by_key))
        self.bytes -= _bytes(oldest, *self._by_key.pop(oldest)[:2])


def _bytes(key: bytes, cause: Cause, array: Held) -> int:
    return len(key) + sum(map(len, cause)) + array.nbytes + _HELD
