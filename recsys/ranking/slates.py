"""The slates of a batch: ids, titles, reasons and explanations of the selected candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import structs

from recsys.answers import Recommendation
from recsys.datatypes import Floats
from recsys.ranking.batch_query import Prepared
from recsys.ranking.explanations import Explanations
from recsys.shard.candidates import BECAUSE, ROLES, CandidateSet
from recsys.shard.sources import BITS

_NAMED = [tuple(source for source, bit in BITS.items() if bits & bit) for bits in range(2 * max(BITS.values()))]
"""Names of sources by bit mask."""
_LIKED = BITS["because_you_liked"]


def recommendations(
    batch: Sequence[Prepared],
    candidates: CandidateSet,
    scores: Floats,
    chosen: Sequence[npt.NDArray[np.int64]],
    explanations: Explanations,
) -> list[tuple[Recommendation, ...]]:
    """Return the slate of each request, best first. `scores`: (n,) float32 of the n candidates. `chosen[b]`: positions
    of request b's selected candidates, best first.
    """
    picked = np.concatenate(chosen)
    ids, titles = candidates.ids.picked(picked), candidates.titles.picked(picked)
    sources = candidates.sources.take(picked)
    bits, nearest = sources.tolist(), [0] * len(picked)
    if np.count_nonzero(sources & _LIKED):
        likeness = candidates.likeness[picked, BECAUSE:ROLES]
        nearest = np.where(np.isnan(likeness), -np.inf, likeness).argmax(axis=1).tolist()
    rounded = scores.take(picked).astype(np.float64).round(6).tolist()
    slates, start = [], 0
    for b, (prepared, winners) in enumerate(zip(batch, chosen, strict=True)):
        reason = _Reasons(prepared)
        items = [
            Recommendation(
                ids[i], titles[i], i - start + 1, rounded[i], _NAMED[bits[i]][0], reason.of(bits[i], nearest[i])
            )
            for i in range(start, start + len(winners))
        ]
        if prepared.query.explain:
            full = prepared.query.explain == "full"
            items = [
                structs.replace(
                    item,
                    signals=explanations.signals_of(i),
                    contributions=explanations.contributions_of(b, i, full=full),
                )
                for item, i in zip(items, winners.tolist(), strict=True)
            ]
        slates.append(tuple(items))
        start += len(winners)
    return slates


class _Reasons:
    """The reasons of a request's items. Few are distinct, and each is built once."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._by_key: dict[tuple[int, int], tuple[dict[str, str], ...]] = {}

    def of(self, bits: int, nearest: int) -> tuple[dict[str, str], ...]:
        """Return the reasons of an item. `bits`: its sources; `nearest`: position of the most similar recent like."""
        key = (bits, nearest if bits & _LIKED else 0)
        if key not in self._by_key:
            self._by_key[key] = tuple(self._reason(source, nearest) for source in _NAMED[bits])
        return self._by_key[key]

    def _reason(self, source: str, nearest: int) -> dict[str, str]:
        prepared = self._prepared
        if source == "because_you_liked":
            return {"code": source, "item_id": prepared.profile.recent[nearest]}
        if source != "similar":
            return {"code": source}
        if prepared.query.like_item is not None:
            return {"code": "similar_to_item", "item_id": prepared.query.like_item}
        return {"code": "similar_to_query" if prepared.vector is not None else "matches_your_taste"}
