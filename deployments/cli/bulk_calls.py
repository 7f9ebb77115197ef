"""Concurrent bulk calls: while the platform works on one, the next rows are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from operator import attrgetter
from typing import Any

CONCURRENT = 3
"""Calls at a time: one whose answer is read, one that the platform works on, and one that waits there."""
BULK = 1000
"""Most records of one call."""

Answer = dict[str, Any]
Answered = tuple[Sequence[Any], Answer]


def bulks(records: Sequence[Any], owner: Callable[[Any], str], *, grouped: bool) -> Iterator[list[Any]]:
    """Yield the records in lists of at most BULK. `grouped`: each owner's together, in order of time.

    The platform handles events by user: fifty events of one user cost little more than one.
    """
    if not grouped:
        yield from (list(records[at : at + BULK]) for at in range(0, len(records), BULK))
        return
    by_owner: dict[str, list[Any]] = {}
    for record in records:
        by_owner.setdefault(owner(record), []).append(record)
    bulk: list[Any] = []
    for theirs in by_owner.values():
        theirs.sort(key=attrgetter("timestamp"))
        if bulk and len(bulk) + len(theirs) > BULK:
            yield bulk
            bulk = []
        bulk += theirs
        while len(bulk) > BULK:
            yield bulk[:BULK]
            bulk = bulk[BULK:]
    if bulk:
        yield bulk


class BulkCalls:
    """Calls `post` with lists of records in a thread pool. Calls with records of one owner are sequential, so that the
    later of two rows about one item wins.
    """

    def __init__(self, post: Callable[[Sequence[Any]], Answer], pool: Executor) -> None:
        self._post = post
        self._pool = pool
        self._under_way: deque[tuple[Sequence[Any], set[str], Future[Answer]]] = deque()

    def start(self, records: Sequence[Any], owners: set[str]) -> list[Answered]:
        """Start a call. Return the calls that had to finish first, with their answers. Raises what one of them did."""
        answered = []
        while self._under_way and (len(self._under_way) >= CONCURRENT or self._meets(owners)):
            answered.append(self._next())
        self._under_way.append((records, owners, self._pool.submit(self._post, records)))
        return answered

    def finish(self) -> list[Answered]:
        """Wait for all calls, and return them with their answers. Raises what one of them raised."""
        return [self._next() for _ in range(len(self._under_way))]

    def _next(self) -> Answered:
        records, _, future = self._under_way.popleft()
        return records, future.result()

    def _meets(self, owners: set[str]) -> bool:
        return any(not owners.isdisjoint(others) for _, others, _ in self._under_way)
