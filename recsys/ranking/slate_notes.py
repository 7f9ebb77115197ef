"""What an answer says of itself beside its items: why it is empty or short, and what it could not look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from recsys.datatypes import Recommendation
from recsys.ranking.batch_query import Prepared

HISTORY_LIMIT = "history_limit"
"""The user's history is cut at `history` events: items of older ones can come back."""
FEWER = "fewer_than_k"
"""Fewer items than asked for are left by the filter, the exclusions and what the user has seen."""
NOTHING = "nothing_found"
"""The scenario's sources have nothing, whatever is left out."""
_FILTER, _EXCLUDED, _SEEN = "filter_matches_nothing", "excluded", "everything_seen"

_NO_KEYS = np.zeros(0, np.uint64)


def notes(prepared: Prepared, items: Sequence[Recommendation]) -> tuple[str, ...]:
    """Of a slate; `reasons` has those of an empty one. None where items were given to rank."""
    query = prepared.query
    if query.items is not None:
        return ()
    cut = prepared.profile.cut and not query.include_seen
    return ((HISTORY_LIMIT,) if cut else ()) + ((FEWER,) if 0 < len(items) < query.k else ())


def restrictions(prepared: Prepared) -> tuple[str, ...]:
    """What keeps items out of this slate, as the reason that it would be for an empty one."""
    query = prepared.query
    seen = len(prepared.profile.seen) > 0 and not query.include_seen
    given = {_FILTER: query.filter is not None, _EXCLUDED: bool(query.exclude), _SEEN: seen}
    return tuple(reason for reason, holds in given.items() if holds)


def probes(prepared: Prepared) -> list[Prepared]:
    """The same request with the first restriction alone, with the first two and so on, but for the whole of it. The
    first that finds nothing tells why there is nothing; where all find something it is the last restriction.
    """
    reasons = restrictions(prepared)
    return [_only(prepared, set(reasons[:n])) for n in range(1, len(reasons))]


def _only(prepared: Prepared, kept: set[str]) -> Prepared:
    query = prepared.query
    query = structs.replace(
        query, k=1, filter=query.filter if _FILTER in kept else None, exclude=query.exclude if _EXCLUDED in kept else ()
    )
    profile = prepared.profile if _SEEN in kept else structs.replace(prepared.profile, seen=_NO_KEYS)
    return structs.replace(prepared, query=query, profile=profile)


def reasons(prepared: Prepared, probes: Sequence[bool]) -> tuple[str, ...]:
    """Return the notes of an empty slate. `probes`: whether each of its probe queries has a result."""
    possible = (*restrictions(prepared), NOTHING)
    why = possible[probes.index(False)] if False in probes else possible[max(len(possible) - 2, 0)]
    return (*notes(prepared, ()), why)
