"""What candidates were measured with for users who came before, kept for the next time.

Who comes again with the same profile is mostly proposed the same rows. All that `CandidateSet.likeness` says of a
request follows from its vectors, its last likes and the rows, of which none ever changes. So it is computed again only
where one of them is another than last time, and is the same to the bit if it is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.datatypes import Floats, Rows
from recsys.shard.candidates import ShardQuery

MOST_BYTES = 64 << 20
"""Bytes that a shard keeps: some 4,000 users of 512 dimensions, with 70 candidates each."""

Cause = tuple[bytes, bytes, bytes, bytes, bytes]
"""Weights of the last likes, roles of the vectors, the vectors, the rows, what sources told of these."""


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
