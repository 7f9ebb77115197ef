"""What is liked among users who are alike, for users of whom no like is known.

The counts lie in Redis. A composer reads the most liked items of each segment now and then, so no request waits for it.
They become candidates by a rule of their own, which any filter of the request restricts, and their scores rise by the
log of their likes in the segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import orjson
from redis.asyncio import Redis

from recsys.columns import find
from recsys.config.scenarios import Segments
from recsys.datatypes import AttributeValue, RecQuery, UserProfile
from recsys.ranking.batch_query import Prepared
from recsys.ranking.rules import Effect
from recsys.ranking.segment_top import NAME, Top
from recsys.shard.candidates import CandidateSet
from recsys.state.segment_counts import most_liked

LOOK_S = 30.0
"""Seconds between two looks at the counts."""
_TOP = 50
"""Items of a segment that are recommended for being liked there."""


class SegmentPopularity:
    def __init__(self, redis: Redis, settings: Segments, before: SegmentPopularity | None = None) -> None:
        """`before`: what it replaces, whose counts hold until the next look if they are of the same attribute."""
        self._redis = redis
        self._settings = settings
        same = before is not None and before.attribute == settings.attribute
        self.tops: Mapping[str, Top] = before.tops if before is not None and same else {}
        """By the value of the users' attribute, as JSON."""

    @property
    def attribute(self) -> str | None:
        return self._settings.attribute

    async def look(self) -> None:
        """Take over what is liked now. Raises RedisError and OSError: then what was known before stays."""
        liked = await most_liked(self._redis, _TOP)
        self.tops = {value: Top.of(rows) for value, rows in liked.items() if rows}

    def top(self, query: RecQuery, profile: UserProfile, attributes: Mapping[str, AttributeValue]) -> Top | None:
        """What is liked in the segment of a user without likes; None: the user has some or has no segment, or the query
        is for what is like something.
        """
        value = attributes.get(self.attribute or "")
        if value is None or not profile.cold or query.items is not None:
            return None
        if query.vector is not None or query.like_item is not None:
            return None
        return self.tops.get(orjson.dumps(value).decode())

    def effects(self, batch: Sequence[Prepared], candidates: CandidateSet) -> list[Effect]:
        """What it adds to the scores of candidates."""
        effects = []
        for b, prepared in enumerate(batch):
            if (top := prepared.segment) is None:
                continue
            rows = np.arange(candidates.offsets[b], candidates.offsets[b + 1])
            at = find(top.keys, candidates.keys[rows])
            effects.append(Effect(NAME, self._settings.weight, rows[at >= 0], top.shares[at[at >= 0]]))
        return effects
