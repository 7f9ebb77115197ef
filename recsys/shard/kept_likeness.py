"""What candidates were measured with for users who came before, kept for the next time.

Who comes again with the same profile is mostly proposed the same rows. All that `CandidateSet.likeness` says of a
request follows from its vectors, its last likes and the rows, of which none ever changes. So it is computed again only
where one of them is another than last time, and is the same to the bit if it is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from recsys.datatypes import Floats, Rows
from recsys.shard.candidates import ShardQuery

MOST_BYTES = 64 << 20
"""Bytes that a shard keeps: some 4,000 users of 512 dimensions, with 70 candidates each."""
LASTS_S = 300.0
"""Seconds for which it is kept: a shard is not told when a user is erased."""
_HELD = 700
"""Bytes of what holds the others together, for each user."""

Cause = tuple[bytes, bytes, bytes, bytes, bytes]
"""Weights of the last likes, roles of the vectors, the vectors, the rows, what sources told of these."""


class KeptLikeness:
    """May be called by several threads. The oldest entries leave first. `most`: bytes."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self.bytes = 0
        self._lock = threading.Lock()
        self._by_trail: dict[bytes, tuple[Cause, Floats, float]] = {}
        """The last is when it was put there, by time.monotonic()."""

    def __len__(self) -> int:
        return len(self._by_trail)

    def take(self, trail: bytes, cause: Cause) -> Floats | None:
        """(n, LIKENESS) of the n rows; None: with these keys of the last likes came something else, or nothing."""
        kept = self._by_trail.get(trail)  # of users without likes there never is any
        return kept[1] if kept is not None and kept[0] == cause else None

    def put(self, trail: bytes, cause: Cause, likeness: Floats) -> None:
        if not trail:
            return
        with self._lock:
            before = self._by_trail.pop(trail, None)
            self.bytes += _bytes(trail, cause, likeness) - (0 if before is None else _bytes(trail, *before[:2]))
            self._by_trail[trail] = cause, likeness, time.monotonic()
            while self.bytes > self._most:
                self._drop_oldest()

    def expire(self) -> None:
        """Drop what is older than LASTS_S."""
        oldest_at = time.monotonic() - LASTS_S
        with self._lock:
            while self._by_trail and next(iter(self._by_trail.values()))[2] < oldest_at:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._by_trail))
        self.bytes -= _bytes(oldest, *self._by_trail.pop(oldest)[:2])


def _bytes(trail: bytes, cause: Cause, likeness: Floats) -> int:
    return len(trail) + sum(map(len, cause)) + likeness.nbytes + _HELD


def causes(query: ShardQuery, rows: Rows, offsets: Rows, told: Floats | None) -> Sequence[tuple[bytes, Cause]] | None:
    """Of each request the keys of its last likes, and all else that its likeness follows from. None: the vectors are
    not in the order of the requests. `offsets`: where the rows of each request begin. `told`: (n,) scores of the rows;
    None: there are none.
    """
    requests, size = query.vector_request, query.size
    if np.count_nonzero(requests[1:] < requests[:-1]):
        return None
    at = requests.searchsorted(np.arange(size + 1)).tolist()
    likes, own = query.trail_offsets.tolist(), offsets.tolist()
    trail, weights, roles, vectors = query.trail, query.trail_weights, query.vector_role, query.vectors
    return [
        (
            trail[likes[b] : likes[b + 1]].tobytes(),
            (
                weights[likes[b] : likes[b + 1]].tobytes(),
                roles[at[b] : at[b + 1]].tobytes(),
                vectors[at[b] : at[b + 1]].tobytes(),
                rows[own[b] : own[b + 1]].tobytes(),
                b"" if told is None else told[own[b] : own[b + 1]].tobytes(),
            ),
        )
        for b in range(size)
    ]
