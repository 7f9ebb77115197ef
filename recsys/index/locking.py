"""A lock that readers share and a writer holds alone. Readers and writers take turns, so neither is kept out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class _Shared(AbstractContextManager[None]):
    """One for all readers: every search comes through, and a generator takes longer than the lock itself."""

    def __init__(self, lock: SharedLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.enter()

    def __exit__(self, *_: object) -> None:
        self._lock.leave()


class SharedLock:
    """A waiting writer goes before readers that come later. When its write ends, all waiting readers go before the next
    write. So a reader waits for at most the write under way and one more, however fast writes follow each other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._readers_waiting = 0
        self._writers_waiting = 0
        self._writing = False
        self._writes = 0
        """Writes that have ended."""
        self._owed = 0
        """Readers that waited when the last write ended, and have not come in yet."""
        self._shared = _Shared(self)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many readers and writers wait for their turn."""
        return self._readers_waiting, self._writers_waiting

    def shared(self) -> AbstractContextManager[None]:
        return self._shared

    def enter(self) -> None:
        """As a reader; `leave` ends that. `shared` does both."""
        with self._changed:
            if self._writing or self._writers_waiting:
                self._wait_for_a_turn()
            self._readers += 1

    def leave(self) -> None:
        with self._changed:
            self._readers -= 1
            if self._writers_waiting and not self._readers:
                self._changed.notify_all()

    def _wait_for_a_turn(self) -> None:
        came = self._writes
        self._readers_waiting += 1
        try:
            self._changed.wait_for(lambda: not self._writing and (not self._writers_waiting or self._writes != came))
        finally:
            self._readers_waiting -= 1
            if self._writes != came:
                self._owed -= 1

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._writers_waiting += 1
            try:
                self._changed.wait_for(lambda: not (self._writing or self._readers or self._owed))
            finally:
                self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._writes += 1
                self._owed = self._readers_waiting
                self._changed.notify_all()
