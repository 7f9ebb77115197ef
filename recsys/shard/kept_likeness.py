"""What candidates were measured with for users who came before, kept for the next time.

Who comes again with the same profile is mostly proposed the same rows. All that `CandidateSet.likeness` says of a
request follows from what its name stands for (see `told_profiles.py`) and from the rows, of which none ever changes. So
it is computed again only where one of them is another than last time, and is the same to the bit if it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from recsys.datatypes import Floats, Rows

MOST_BYTES = 16 << 20
"""Bytes that a shard keeps: some 4,000 users, with 70 candidates each."""

Cause = tuple[bytes, bytes]
"""The rows, and what sources told of them."""


def causes(rows: Rows, offsets: Rows, told: Floats | None) -> Sequence[Cause]:
    """Of each request all that its likeness follows from, but for its vectors and last likes. `offsets`: where the rows
    of each request begin. `told`: (n,) scores of the rows; None: there are none.
    """
    own = offsets.tolist()
    return [
        (rows[start:end].tobytes(), b"" if told is None else told[start:end].tobytes()) for start, end in pairwise(own)
    ]
