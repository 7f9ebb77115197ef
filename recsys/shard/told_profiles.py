"""What candidates are measured with for a user, told a shard once and then called by a name.

A version that learned compares candidates with some vectors of the user's profile and with the last likes: 14 KB a
request at 512 dimensions, the same as long as the profile is. A composer gives them a name, and leaves out of its next
questions what no walk goes out from. A shard that was not told says so before it searches, and is told all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from recsys.datatypes import Floats, Keys, Rows
from recsys.shard.candidates import ShardQuery
from recsys.shard.kept_arrays import LASTS_S, KeptArrays

MOST_BYTES = 48 << 20
"""Bytes that a shard keeps: some 3,000 users of 512 dimensions."""
_AGAIN_S = 0.1 * LASTS_S
"""Seconds for which what is told again is passed over: who comes alone is told each time, and what belongs to a name
never changes. Composers leave it out for four fifths of LASTS_S at the most, so what they count on is there.
"""
_NAME = 16
"""Bytes of a name."""
_NONE = bytes(_NAME)


class Untold(LookupError):
    """A question names what the shard was not told, or has forgotten: it has to be asked whole."""


class Told(NamedTuple):
    """What belongs to a name: (v, width) float32 vectors and their (v,) int64 roles, and (t,) keys of the last likes
    with their weights.
    """

    vectors: Floats
    roles: Rows
    trail: Keys
    trail_weights: Floats

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self)


class Names(NamedTuple):
    """The names of a batch, and what belongs to them where the question leaves it out."""

    names: Sequence[bytes]
    """Of each request; empty: it has none."""
    left_out: Sequence[Told | None]

    def whole(self, query: ShardQuery, requests: Sequence[int]) -> ShardQuery:
        """These requests of the question, in ascending order, with all that likeness follows from."""
        part = query if len(requests) == query.size else query.part(np.array(requests))
        left_out = [self.left_out[b] for b in requests]
        if not any(told is not None for told in left_out):
            return part
        own = [told or _told(part, b) for b, told in enumerate(left_out)]
        each = [len(told.vectors) for told in own]
        return replace(
            part,
            vectors=np.concatenate([told.vectors for told in own]),
            vector_request=np.arange(len(own)).repeat(each),
            vector_role=np.concatenate([told.roles for told in own]),
            trail=np.concatenate([told.trail for told in own]),
            trail_weights=np.concatenate([told.trail_weights for told in own]),
            trail_offsets=np.cumsum([0, *(len(told.trail) for told in own)]),
        )


def names(known: KeptArrays[Told], query: ShardQuery) -> Names | None:
    """Who is asked for by a name, None: nobody is. What is told is kept. Raises Untold."""
    if not len(query.names):
        return None
    flat, left_out = query.names[:, :2].tobytes(), query.names[:, 2].tolist()
    called = [flat[start : start + _NAME] for start in range(0, len(flat), _NAME)]
    told: list[Told | None] = [None] * len(called)
    for b, name in enumerate(called):
        if name == _NONE:
            called[b] = b""
        elif left_out[b]:
            told[b] = known.take(name)
            if told[b] is None:
                raise Untold
        elif not known.younger(name, _AGAIN_S):
            known.put(name, _told(query, b))
    return Names(called, told)


def _told(query: ShardQuery, request: int) -> Told:
    """What a question says of a request."""
    mine = query.vector_request == request
    start, end = query.trail_offsets[request : request + 2].tolist()
    trail, weights = query.trail[start:end].copy(), query.trail_weights[start:end].copy()
    return Told(query.vectors[mine], query.vector_role[mine], trail, weights)
