"""The slates of a batch: ids, titles, reasons and explanations of the selected candidates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from msgspec import structs

from recsys.answers import Recommendation
from recsys.datatypes import Floats
from recsys.ranking.batch_query import Prepared
from recsys.ranking.explanations import Explanations
from recsys.ranking.picking import LIKED, NAMED, slates
from recsys.shard.candidates import CandidateSet


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
    lists = slates(candidates, scores, chosen, [_Reasons(prepared).of for prepared in batch])
    if not any(prepared.query.explain for prepared in batch):  # nearly always
        return lists
    explained = []
    for b, (prepared, items, winners) in enumerate(zip(batch, lists, chosen, strict=True)):
        if not prepared.query.explain:
            explained.append(items)
            continue
        full = prepared.query.explain == "full"
        explained.append(
            tuple(
                structs.replace(
                    item,
                    signals=explanations.signals_of(i),
                    contributions=explanations.contributions_of(b, i, full=full),
                )
                for item, i in zip(items, winners.tolist(), strict=True)
            )
        )
    return explained


class _Reasons:
    """The reasons of a request's items. Few are distinct, and each is built once; those that say nothing of the request
    once for all requests.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._similar = "similar_to_query" if prepared.vector is not None else "matches_your_taste"
        self._by_key: dict[tuple[int, int], tuple[dict[str, str], ...]] = {}

    def of(self, bits: int, nearest: int) -> tuple[dict[str, str], ...]:
        """Return the reasons of an item. `bits`: its sources; `nearest`: position of the most similar recent
        like, where that source is one of them.
        """
        if not bits & LIKED and self._prepared.query.like_item is None:  # nearly always
            return _alike(bits, self._similar)
        key = (bits, nearest)
        if key not in self._by_key:
            self._by_key[key] = tuple(self._reason(source, nearest) for source in NAMED[bits])
        return self._by_key[key]

    def _reason(self, source: str, nearest: int) -> dict[str, str]:
        prepared = self._prepared
        if source == "because_you_liked":
            return {"code": source, "item_id": prepared.profile.recent[nearest]}
        if source != "similar":
            return {"code": source}
        if prepared.query.like_item is not None:
            return {"code": "similar_to_item", "item_id": prepared.query.like_item}
        return {"code": self._similar}


@cache
def _alike(bits: int, similar: str) -> tuple[dict[str, str], ...]:
    """The reasons of an item with these sources. `similar`: what stands for being near to the request's vector."""
    return tuple({"code": similar if source == "similar" else source} for source in NAMED[bits])
