"""Which rows of a walk are proposed, what is proposed, each item once, and which filters match it, by compiled code
where it is there.

`choosing.c` is compiled when the project is installed. Where it was not, and where more is to be looked at than it
does, these functions give None, and numpy does all of it (`neighbours.py`, `search.py`, `rule_matches.py`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recsys.compiled import compiled
from recsys.datatypes import Floats, Keys, Rows
from recsys.shard.proposals import Bools, Ints, Proposals

Bits = npt.NDArray[np.uint8]

ALL = np.zeros(0, bool)
"""Stands for (n,) of which all hold."""


class Choosing(Protocol):
    """`choosing.c`. All arrays are contiguous. IndexError for rows that are not there, ValueError for arrays that do
    not fit each other.
    """

    def first(
        self, rows: Rows, keys: Keys, alive: Bools, requests: Ints, wanted: Ints, excluded: Keys, places: Ints, /
    ) -> int: ...
    def once(
        self, requests: Ints, rows: Rows, bits: Ints, keys: Keys, places: Ints, joined: Ints, tags: Keys, /
    ) -> int: ...
    def match(self, masks: tuple[Bools, ...], rows: Rows, bits: Bits, /) -> None: ...


CHOOSING: Choosing | None = compiled("recsys.shard.choosing")
"""None: numpy chooses."""


class Lines(NamedTuple):
    """What a walk found for m vectors."""

    requests: Ints
    """(m,) int64."""
    wanted: Ints
    """(m,) int64, neighbours each."""
    bits: Ints
    """(m,) int64 of their sources."""
    rows: Rows
    """(m, w) int64, best first, negative where there is none."""
    scores: Floats | None
    """(m, w); None: they are not exact."""


def first(
    lines: Lines, keys: Keys, alive: Bools, excluded: Keys, choosing: Choosing | None = CHOOSING
) -> Proposals | None:
    """The `wanted` best rows of each line that are alive and not excluded; None: there are too few, or there is no
    compiled code.

    `keys`: (n,) uint64 by row. `alive`: (n,) bool by row, or ALL. `excluded`: see `proposals.eligible`.
    """
    if choosing is None:
        return None
    requests, wanted, bits, rows, scores = lines
    rows, places = np.ascontiguousarray(rows), np.empty(rows.size, np.int64)
    filled = choosing.first(
        rows, keys, alive, np.ascontiguousarray(requests), np.ascontiguousarray(wanted), excluded, places
    )
    if filled < 0:
        return None
    places = places[:filled]
    chosen = None if scores is None else scores.ravel().take(places)
    if len(requests) == 1:
        return Proposals(requests.repeat(filled), rows.ravel().take(places), bits.repeat(filled), chosen)
    line = places // rows.shape[1]
    return Proposals(requests.take(line), rows.ravel().take(places), bits.take(line), chosen)


class Once(NamedTuple):
    """Each item of a request once, in the order of the tags."""

    rows: Rows
    sources: Ints
    """(n,) bits of all sources that proposed it."""
    scores: Floats | None
    """(n,) of the first of them; None: none gave any."""
    tags: Keys


def once(proposed: Proposals, keys: Keys, choosing: Choosing | None = CHOOSING) -> Once | None:
    """None: two items of a request share a key, or there is no compiled code. `keys`: (n,) uint64 by row."""
    if choosing is None:
        return None
    n, scores = len(proposed.rows), proposed.scores
    places, joined, tags = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint64)
    filled = choosing.once(proposed.requests, proposed.rows, proposed.bits, keys, places, joined, tags)
    if filled < 0:
        return None
    if filled < n:
        places, joined, tags = places[:filled], joined[:filled], tags[:filled]
    return Once(proposed.rows.take(places), joined, None if scores is None else scores.take(places), tags)


def matching(masks: tuple[Bools, ...], rows: Rows, choosing: Choosing | None = CHOOSING) -> Bits | None:
    """(n, ceil(masks / 8)) uint8: bit f, from the lowest, of each row tells whether mask f has it; None: there is no
    compiled code.
    """
    if choosing is None:
        return None
    bits = np.zeros((len(rows), -(-len(masks) // 8)), np.uint8)
    choosing.match(masks, np.ascontiguousarray(rows), bits)
    return bits
