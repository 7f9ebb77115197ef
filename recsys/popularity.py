"""Popularity and trend of items, counted in Redis as events come in and followed by every shard replica.

A trend is a sum of likes that halve every half-life. It is kept as `log2(sum of weight * 2 ** (t / half_life))`, which
no passing of time changes (forward decay, Cormode et al. 2009): nothing has to be aged, and no number overflows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis

from recsys import keys

_OVERLAP_S = 5.0
"""Looks overlap by this much, for the server's clock may be set back."""
_PAGE = 10_000


def trend_of(weight: float, timestamp: float, half_life_s: float) -> float:
    """What one like of this weight at this time adds, as log2; -inf for no like."""
    return math.log2(weight) + timestamp / half_life_s if weight > 0 else -math.inf


def trend_now(trends: npt.NDArray[np.float64], now: float, half_life_s: float) -> npt.NDArray[np.float64]:
    """Likes that are left of the trends now; 0 where there were none."""
    return np.exp2(np.minimum(trends - now / half_life_s, 60.0))


@dataclass(frozen=True, slots=True)
class Counts:
    """Items whose numbers have changed, and the most likes that any item has."""

    item_ids: Sequence[str]
    likes: Sequence[float]
    trends: Sequence[float]
    top: float


class PopularityFeed:
    """Remembers how far it has looked; a new one starts with everything."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._since = -math.inf
        self._looked_at: dict[bytes, float] = {}

    async def changes(self) -> Counts:
        """Items counted since the last look; each once, though looks overlap."""
        touched: list[Any] = await self.redis.zrange(keys.TOUCHED, self._since, "+inf", byscore=True, withscores=True)
        fresh = [member.decode() for member, score in touched if self._looked_at.get(member) != score]
        if touched:
            self._since = max(score for _, score in touched) - _OVERLAP_S
            self._looked_at = {member: score for member, score in touched if score >= self._since}
        return await self.of(fresh)

    async def of(self, ids: Sequence[str]) -> Counts:
        """The numbers of these items, changed or not."""
        likes: list[float] = []
        trends: list[float] = []
        for start in range(0, len(ids), _PAGE):
            page = list(ids[start : start + _PAGE])
            pipe = self.redis.pipeline(transaction=False)
            pipe.zmscore(keys.LIKES, page)
            pipe.zmscore(keys.TREND, page)
            page_likes, page_trends = await pipe.execute()
            likes += [score or 0.0 for score in page_likes]
            trends += [-math.inf if score is None else score for score in page_trends]
        top: list[Any] = await self.redis.zrange(keys.LIKES, 0, 0, desc=True, withscores=True)
        return Counts(ids, likes, trends, top[0][1] if top else 0.0)
