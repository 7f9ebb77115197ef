"""The weights of a user's events in a taste, and the items whose vectors it needs.

A user's newest event about an item decides. If it is not a like (a dislike, a rating under `liked_from`), it cancels
the likes before it. The likes since the last such event count as one, with the time of the newest and the weight of the
strongest: a page view after the purchase does not reduce it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config.scenarios import EventType
from recsys.datatypes import Interaction
from recsys.model.space import Space

SHUNNED = 3
"""Disliked items that a profile keeps with their vectors, for what is like them."""
_FELT = 1e-3
"""Share of a like's weight below which it is left out of a text taste."""


@dataclass(frozen=True, slots=True)
class Taste:
    """The weights of event types, and the decay of likes."""

    types: Mapping[str, EventType]
    half_life: float
    """Likes after which a like has half the weight."""

    def weight(self, event: Interaction) -> float:
        """Return the weight of an event. 0: it is not a like, or its type is not kept or no longer declared."""
        kind = self.types.get(event.type)
        if (
            kind is None
            or not kind.kept
            or (kind.liked_from is not None and (event.value is None or event.value < kind.liked_from))
        ):
            return 0.0
        return kind.weight

    def speaks(self, event: Interaction) -> bool:
        """Return whether the event counts. One whose type is not kept, or no longer declared, does not."""
        kind = self.types.get(event.type)
        return kind is not None and kind.kept

    @property
    def fingerprint(self) -> bytes:
        """8 bytes that change with the settings. A profile made with another fingerprint is outdated."""
        types = sorted((name, kind.weight, kind.liked_from) for name, kind in self.types.items() if kind.kept)
        return hashlib.blake2b(repr((types, self.half_life)).encode(), digest_size=8).digest()

    @property
    def decay(self) -> float:
        """The factor of one more like."""
        return float(0.5 ** (1.0 / self.half_life))


def standing(events: Sequence[Interaction], taste: Taste) -> list[float]:
    """Return the weight of each event, oldest first. It is 0 if a later event about the item cancels it."""
    weights = [taste.weight(e) for e in events]
    signs: dict[str, int] = {}
    for n in range(len(events) - 1, -1, -1):
        if not taste.speaks(events[n]):
            continue
        item_id, sign = events[n].item_id, (weights[n] > 0) - (weights[n] < 0)
        newest = signs.setdefault(item_id, sign)
        if sign != newest:
            signs[item_id] = 0  # older events are cancelled too
        if not signs[item_id]:
            weights[n] = 0.0
    return weights


def needed(events: Sequence[Interaction], taste: Taste, space: Space) -> list[str]:
    """Return the items whose vectors the taste of a whole history needs, those of the newest likes first.

    In a text taste, likes older than ten half-lives have under a thousandth of the weight and are left out. The long
    part of a learned taste has a half-life of 500 likes, so every like counts.
    """
    weights = standing(events, taste)
    newest: dict[str, float] = {}
    for event, weight in zip(reversed(events), reversed(weights), strict=True):
        if weight:
            newest.setdefault(event.item_id, weight)
    liked, disliked = list(newest), [item for item, weight in newest.items() if weight < 0]
    most = len(liked) if space.learned else math.ceil(taste.half_life * -math.log2(_FELT))
    return list(dict.fromkeys([*liked[:most], *disliked[:SHUNNED]]))
