"""What events say of a user's taste: the weight of each, which of them still stand, and which items they need.

Of an item the user's newest word counts. A word that is no like (a dislike, a rating under `liked_from`) takes back the
likes before it. Likes since then are one like, at the time of the newest and the weight of the strongest: a product
page that is viewed again after the purchase takes nothing back.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config import EventType
from recsys.datatypes import Interaction
from recsys.model.space import Space

_FELT = 1e-3
"""Share of a like's weight under which it no longer counts in a taste of texts."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What the event types mean, and how fast a like fades."""

    types: Mapping[str, EventType]
    half_life: float
    """Likes."""

    def weight(self, event: Interaction) -> float:
        """The like in an event; 0 when it is none, or of a type that is no longer declared."""
        kind = self.types.get(event.type)
        if kind is None or (kind.liked_from is not None and (event.value is None or event.value < kind.liked_from)):
            return 0.0
        return kind.weight

    def speaks(self, event: Interaction) -> bool:
        """Whether the event is a word about its item. One of a type that is no longer declared says nothing."""
        return event.type in self.types

    @property
    def fingerprint(self) -> bytes:
        """8 bytes that differ when the settings do: a profile made with others is not up to date."""
        types = sorted((name, kind.weight, kind.liked_from) for name, kind in self.types.items())
        return hashlib.blake2b(repr((types, self.half_life)).encode(), digest_size=8).digest()

    @property
    def decay(self) -> float:
        return float(0.5 ** (1.0 / self.half_life))


def standing(events: Sequence[Interaction], taste: Taste) -> list[float]:
    """The weight of each event, oldest first; 0 where a later event about the item takes it back."""
    weights = [taste.weight(e) for e in events]
    signs: dict[str, int] = {}
    for n in range(len(events) - 1, -1, -1):
        if not taste.speaks(events[n]):
            continue
        item_id, sign = events[n].item_id, (weights[n] > 0) - (weights[n] < 0)
        newest = signs.setdefault(item_id, sign)
        if sign != newest:
            signs[item_id] = 0  # older ones do not count either
        if not signs[item_id]:
            weights[n] = 0.0
    return weights


def needed(events: Sequence[Interaction], taste: Taste, space: Space) -> list[str]:
    """Items whose vectors the taste of a whole history is made of, those of the newest likes first.

    In a taste of texts the likes before the last ten half-lives weigh under a thousandth each and are left out. The
    long part of a learned taste fades by half in 500 likes, so there every like counts.
    """
    weights = standing(events, taste)
    liked = dict.fromkeys(e.item_id for e, w in zip(reversed(events), reversed(weights), strict=True) if w)
    most = len(liked) if space.learned else math.ceil(taste.half_life * -math.log2(_FELT))
    return list(liked)[:most]
