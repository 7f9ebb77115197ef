"""Bulk calls, several under way at a time: while the platform works on one, the next rows are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import groupby
from typing import Any

FLIGHTS = 3
"""Calls under way at a time: one that is answered, one that the platform works on, one that waits there."""
BULK = 1000
"""Records of one call at the most."""

Answer = dict[str, Any]
Landed = tuple[Sequence[Any], Answer]


def bulks(records: Sequence[Any], owner: Callable[[Any], str], *, grouped: bool) -> Iterator[list[Any]]:
    """The records in lists of at most `BULK`. `grouped`: each owner's together, by time.

    The platform's work on events goes by the user: fifty events of one user cost little more than one.
    """
    if not grouped:
        yield from (list(records[at : at + BULK]) for at in range(0, len(records), BULK))
        return
    bulk: list[Any] = []
    ordered = sorted(records, key=lambda record: (owner(record), record.timestamp or 0.0))
    for _, group in groupby(ordered, owner):
        theirs = list(group)
        if bulk and len(bulk) + len(theirs) > BULK:
            yield bulk
            bulk = []
        bulk += theirs
        while len(bulk) > BULK:
            yield bulk[:BULK]
            bulk = bulk[BULK:]
    if bulk:
        yield bulk


class Flights:
    """Calls `post` with lists of records in the pool. What concerns the same owner is sent one after another: of two
    rows about one item the later one stays.
    """

    def __init__(self, post: Callable[[Sequence[Any]], Answer], pool: Executor) -> None:
        self._post = post
        self._pool = pool
        self._under_way: deque[tuple[Sequence[Any], set[str], Future[Answer]]] = deque()

    def start(self, records: Sequence[Any], owners: set[str]) -> list[Landed]:
        """Return those that had to land before, with their answers. Raises what one of them raised."""
        landed = []
        while self._under_way and (len(self._under_way) >= FLIGHTS or self._meets(owners)):
            landed.append(self._next())
        self._under_way.append((records, owners, self._pool.submit(self._post, records)))
        return landed

    def land(self) -> list[Landed]:
        """Wait for all that are under way. Raises what one of them raised."""
        return [self._next() for _ in range(len(self._under_way))]

    def _next(self) -> Landed:
        records, _, future = self._under_way.popleft()
        return records, future.result()

    def _meets(self, owners: set[str]) -> bool:
        return any(not owners.isdisjoint(others) for _, others, _ in self._under_way)
