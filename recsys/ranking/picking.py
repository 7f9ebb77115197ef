"""The order of a batch's candidates, those that rules match, and the items of its slates, by compiled code where that
was compiled.

`picks.c` is compiled when the project is installed. Where it was not, numpy and Python give the same, more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recsys.answers import Recommendation
from recsys.columns import StringColumn, StringRows
from recsys.compiled import compiled
from recsys.datatypes import Floats, Keys
from recsys.shard.candidates import BECAUSE, ROLES, CandidateSet
from recsys.shard.sources import BITS

Ints = npt.NDArray[np.int64]

NAMED = tuple(tuple(source for source, bit in BITS.items() if bits & bit) for bits in range(2 * max(BITS.values())))
"""Names of sources by bit mask."""
LIKED = BITS["because_you_liked"]
_FIRST = tuple(names[0] if names else "" for names in NAMED)

Reasons = Callable[[int, int], tuple[dict[str, str], ...]]
"""(sources, position of the nearest of the items liked last) -> reasons of an item. The position is 0 where that source
did not propose the item.
"""


class Picks(Protocol):
    """`picks.c`. ValueError where arrays do not fit each other."""

    def order(self, offsets: Ints, scores: Floats, twins: Keys, order: Ints, /) -> bool: ...

    def matched(self, matches: npt.NDArray[np.uint8], filters: int, rows: Ints, ends: Ints, /) -> None: ...

    def pinned(self, offsets: Ints, order: Ints, rows: Ints, sizes: Ints, position: int, slates: Ints, /) -> None: ...

    def slates(
        self, picked: Ints, ends: Ints, scores: Floats, sources: Ints, likeness: Floats, width: int, first: int,
        last: int, liked: int, ids: Any, titles: Any, names: tuple[str, ...], make: Any, reasons: list[Reasons], /,
    ) -> list[tuple[Recommendation, ...]]: ...  # fmt: skip


PICKS: Picks | None = compiled("recsys.ranking.picks")
"""None: numpy and Python do it."""


def ordered(candidates: CandidateSet, scores: Floats, picks: Picks | None = PICKS) -> Ints | None:
    """Return (n,) positions of the candidates by request and falling score; equal scores stay in their order.

    None: two candidates of a request are equal items, or there is no compiled code.
    """
    if picks is None or scores.dtype != np.float32:
        return None
    order = np.empty(len(scores), np.int64)
    return order if picks.order(candidates.offsets, scores, candidates.twins, order) else None


def matched(matches: npt.NDArray[np.uint8], filters: int, picks: Picks | None = PICKS) -> list[Ints]:
    """Return for each of the filters the positions of the candidates that match it, in ascending order. `matches`: see
    `CandidateSet`.
    """
    if picks is None:
        return [(matches[:, f // 8] & (1 << f % 8)).nonzero()[0] for f in range(filters)]
    rows, ends = np.empty(len(matches) * filters, np.int64), np.empty(filters, np.int64)
    picks.matched(np.ascontiguousarray(matches), filters, rows, ends)
    return [rows[start:end] for start, end in pairwise((0, *ends.tolist()))]


def with_pin(
    offsets: Ints, order: Ints, k: Sequence[int], rows: Ints, position: int, picks: Picks | None = PICKS
) -> list[Ints] | None:
    """Return what `placement.place` makes of the slates of all requests where a single pin is there: the first k[b] of
    request b in their order, with the first of `rows` in the pin's position, from 1. None: there is no compiled code.

    `offsets`: see `CandidateSet`. `order`: as `ordered` returns it. `rows`: the pin's matches, of those requests that
    have it.
    """
    if picks is None:
        return None
    sizes = np.minimum(offsets[1:] - offsets[:-1], np.array(k, np.int64))
    ends = [*accumulate(sizes.tolist(), initial=0)]
    table = np.empty(ends[-1], np.int64)
    picks.pinned(offsets, order, rows, sizes, position, table)
    return [table[start:end] for start, end in pairwise(ends)]


def slates(
    candidates: CandidateSet,
    scores: Floats,
    chosen: Sequence[Ints],
    reasons: Sequence[Reasons],
    picks: Picks | None = PICKS,
) -> list[tuple[Recommendation, ...]]:
    """Return the items at the `chosen` positions of each request, in that order. `scores`: (n,) of the n candidates."""
    picked = chosen[0] if len(chosen) == 1 else np.concatenate(chosen)
    if picks is None or scores.dtype != np.float32:
        return _slates(candidates, scores, chosen, picked, reasons)
    ends = np.array([*accumulate(map(len, chosen), initial=0)], np.int64)
    likeness = candidates.likeness
    return picks.slates(
        picked, ends, scores, candidates.sources, likeness, likeness.shape[1], BECAUSE, ROLES, LIKED,
        _parts(candidates.ids), _parts(candidates.titles), _FIRST, Recommendation, list(reasons),
    )  # fmt: skip


def _parts(column: StringColumn) -> tuple[npt.NDArray[np.uint8], Ints, Ints | None]:
    return column.blob, column.offsets, column.rows if isinstance(column, StringRows) else None


def _slates(
    candidates: CandidateSet, scores: Floats, chosen: Sequence[Ints], picked: Ints, reasons: Sequence[Reasons]
) -> list[tuple[Recommendation, ...]]:
    ids, titles = candidates.ids.picked(picked), candidates.titles.picked(picked)
    sources = candidates.sources.take(picked)
    bits, nearest = sources.tolist(), [0] * len(picked)
    if np.count_nonzero(sources & LIKED):
        likeness = candidates.likeness[picked, BECAUSE:ROLES]
        near = np.where(np.isnan(likeness), -np.inf, likeness).argmax(axis=1)
        nearest = np.where(sources & LIKED, near, 0).tolist()
    rounded = scores.take(picked).astype(np.float64).round(6).tolist()
    slates, start = [], 0
    for winners, reason in zip(chosen, reasons, strict=True):
        end = start + len(winners)
        slates.append(
            tuple(
                Recommendation(
                    ids[i], titles[i], i - start + 1, rounded[i], _FIRST[bits[i]], reason(bits[i], nearest[i])
                )
                for i in range(start, end)
            )
        )
        start = end
    return slates
