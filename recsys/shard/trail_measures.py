"""What a shard measures of candidates by the last likes of their request, where the version learned something.

Each measure is a column of `CandidateSet.likeness`, behind those of the vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.datatypes import Floats, Keys, Rows
from recsys.shard.candidates import ROLES

if TYPE_CHECKING:  # reading a config file takes the names of the measures alone
    from recsys.model.learned import Learned
    from recsys.model.neighbour_rows import Likes


@dataclass(frozen=True, slots=True)
class Trails:
    """n candidates of a batch, and the last likes of its requests."""

    learned: Learned
    trail: Keys
    """(t,) the keys of the last likes, request b's at `trail_offsets[b]:trail_offsets[b + 1]`."""
    trail_offsets: Rows
    likes: Likes
    """Those of them that the version knows."""
    offsets: Rows
    """Candidates of request b stand at `offsets[b]:offsets[b + 1]`."""
    requests: Rows
    """(n,) the request of each candidate."""
    slots: Rows
    """(n,) the slot of each candidate, see `Links`; -1: it came after the version was built."""


def neighbours(t: Trails) -> Floats:
    """(n, 3) sums of neighbour rows, see `learned.FADING`."""
    return t.learned.links.scores(t.likes, t.learned.half_life, t.offsets, t.slots)


def attention(t: Trails) -> Floats:
    """(n,) what the network that reads the last likes expects."""
    return t.learned.expected(t.trail, t.trail_offsets, t.offsets, t.slots)


def affinity(t: Trails) -> Floats:
    """(n,) cosine of keywords."""
    return t.learned.alike(t.likes, t.requests, t.slots)


MEASURES: dict[tuple[str, ...], Callable[[Trails], Floats]] = {
    ("near", "follows", "last"): neighbours,
    ("attention",): attention,
    ("affinity",): affinity,
}
"""Names of the columns that a function gives -> the function."""

TRAIL = {name: place for place, name in enumerate(itertools.chain(*MEASURES), ROLES)}
"""Measure -> its column of `CandidateSet.likeness`."""
LIKENESS = ROLES + len(TRAIL)
"""Columns of `CandidateSet.likeness`."""


def measure(trails: Trails, likeness: Floats) -> None:
    """Fill the columns of the measures; `likeness` is (n, LIKENESS) float32."""
    for names, function in MEASURES.items():
        first = TRAIL[names[0]]
        likeness[:, first : first + len(names)] = function(trails).reshape(len(likeness), len(names))
