"""The most liked items of a segment of users, as candidates and as a share of the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.datatypes import ITEM_ID, Condition, Filter, Floats, Keys, Rule, item_keys
from recsys.state.segment_counts import Likes

NAME = "segment"


@dataclass(frozen=True, slots=True)
class Top:
    """n items of a segment."""

    keys: Keys
    """(n,) sorted."""
    shares: Floats
    """(n,) float32 log of the likes, 1 for the most liked item."""
    rule: Rule
    """By which they are candidates."""

    @classmethod
    def of(cls, liked: Likes) -> Top:
        """Of at least one item with likes."""
        ids = sorted(item for item, _ in liked)
        likes = dict(liked)
        shares = np.log1p([likes[item] for item in ids])
        keys = item_keys(ids)
        order = np.argsort(keys)
        # Sorted ids: shards keep what matches a filter, and know it again while the same items lead.
        chosen = Filter(must=(Condition(ITEM_ID, "any", values=tuple(ids)),))
        rule = Rule(NAME, "boost", chosen, proposes=len(ids))
        return cls(keys[order], (shares / shares.max())[order].astype(np.float32), rule)
