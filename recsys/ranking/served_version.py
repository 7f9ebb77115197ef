"""The version that answers a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.model.space import Space
from recsys.ranking.tree_ranker import Ranker
from recsys.routing import Layout


@dataclass(frozen=True, slots=True)
class Serve:
    """The version that answers a batch. It does not change during the batch."""

    version: str
    model: str
    space: Space
    fingerprint: str
    """Fingerprint of the version's encoder."""
    layout: Layout
    weights: Mapping[str, float] | None = None
    """The learned weights of signals. None: the version has no model."""
    ranker: Ranker | None = None
    """The tree ranker. None: the blend ranks."""
