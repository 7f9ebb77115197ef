"""What a batch is answered from, and how long it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.model.space import Space
from recsys.ranking.tree_ranker import Ranker


@dataclass(frozen=True, slots=True)
class Serve:
    """The version that a batch is answered from; it never changes on the way."""

    version: str
    model: str
    space: Space
    fingerprint: str
    """Of the version's encoder."""
    weights: Mapping[str, float] | None = None
    """The blend that the version learned; None: it learned nothing."""
    ranker: Ranker | None = None
    """None: the blend decides."""
