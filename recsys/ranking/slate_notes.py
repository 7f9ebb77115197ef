"""Notes of an answer: why its slate is empty or short, and what was not considered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from recsys.answers import Recommendation
from recsys.ranking.batch_query import Prepared

HISTORY_LIMIT = "history_limit"
"""The user's history is cut at `history` events. Items of older events may be recommended again."""
FEWER = "fewer_than_k"
"""The filter, the exclusions and the seen items leave fewer items than requested."""
NOTHING = "nothing_found"
"""The scenario's sources have no candidates even without restrictions."""
UNKNOWN = "unknown:"
"""Begins the notes of what the filter compares items with and is not known: there it matches nothing."""
_FILTER, _EXCLUDED, _SEEN = "filter_matches_nothing", "excluded", "everything_seen"

_NO_KEYS = np.zeros(0, np.uint64)


def notes(prepared: Prepared, items: Sequence[Recommendation]) -> tuple[str, ...]:
    """Return the notes of a slate; see `reasons` for an empty one. There are none if the request names the items."""
    query = prepared.query
    if query.items is not None:
        return ()
    cut = prepared.profile.cut and not query.include_seen
    bounds = ((HISTORY_LIMIT,) if cut else ()) + ((FEWER,) if 0 < len(items) < query.k else ())
    return bounds + tuple(UNKNOWN + name for name in prepared.unknown) if prepared.unknown else bounds


def restrictions(prepared: Prepared) -> tuple[str, ...]:
    """Return the restrictions of a request, each as the reason that it would be for an empty slate."""
    query = prepared.query
    seen = len(prepared.profile.seen) > 0 and not query.include_seen
    given = {_FILTER: prepared.filter is not None, _EXCLUDED: bool(query.exclude), _SEEN: seen}
    return tuple(reason for reason, holds in given.items() if holds)


def probes(prepared: Prepared) -> list[Prepared]:
    """Return the request with its first restriction, with its first two, and so on, without the complete one.

    The first probe without a result has the restriction that empties the slate. If all have results, it is the last
    restriction.
    """
    reasons = restrictions(prepared)
    return [_only(prepared, set(reasons[:n])) for n in range(1, len(reasons))]


def _only(prepared: Prepared, kept: set[str]) -> Prepared:
    query = prepared.query
    query = structs.replace(query, k=1, exclude=query.exclude if _EXCLUDED in kept else ())
    profile = prepared.profile if _SEEN in kept else structs.replace(prepared.profile, seen=_NO_KEYS)
    given = prepared.filter if _FILTER in kept else None
    return structs.replace(prepared, query=query, profile=profile, filter=given, rules=())


def reasons(prepared: Prepared, probes: Sequence[bool]) -> tuple[str, ...]:
    """Return the notes of an empty slate. `probes`: whether each of its probe queries has a result."""
    possible = (*restrictions(prepared), NOTHING)
    why = possible[probes.index(False)] if False in probes else possible[max(len(possible) - 2, 0)]
    return (*notes(prepared, ()), why)
