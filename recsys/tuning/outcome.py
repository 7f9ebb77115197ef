"""What a build chose for its indexes to find what exact search finds, as the manifest says it; see `measuring.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from recsys.config.index import IndexSpec

TastesOf = Literal["users", "walks", "items"]
"""What tastes are measured with, see `probe_queries.py`."""


class Tuned(BaseModel):
    """The index spec that was chosen stands in the manifest itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asked: SerializeAsAny[IndexSpec]
    """What the config file said: while it stays the same, later builds begin with what was chosen for it."""
    ef_search: int
    """What recall was measured with. Shards serve with no less; a larger `ef_search` of the operator wins."""
    balance: float = 1.0
    """What the learned part of items is divided by, see `model/space.py`."""
    recall: dict[str, float]
    """Recall@10 by kind of query, see `probe_queries.py`."""
    tastes_of: TastesOf
    """What the tastes among the queries were made of."""
    walk_us: float
    """CPU microseconds that one query spends in the graphs of all shards, where it was built."""
    seconds: float
    """For indexing and measuring, all tries together."""
    tried: list[str]
    """Each try in words, the last one is what was chosen."""
