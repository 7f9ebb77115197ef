"""What a version is: the manifest in its folder."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from recsys.config import AttributeType, EncoderSpec, IndexSpec, Platform, RoutingSpec
from recsys.model.card import ModelCard
from recsys.model.space import Space
from recsys.tuning.outcome import Tuned

RANKER = "ranker.txt"
MODEL = "model.npz"


class ShardManifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int
    cursor: str
    """The log entry that the snapshot contains last; replicas go on behind it."""
    sha256: dict[str, str]
    """Of each file."""


class Manifest(BaseModel):
    """What a version is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    created_at: datetime
    items: int
    encoder: EncoderSpec
    fingerprint: str
    """Of the encoder; see `base.fingerprint`."""
    index: SerializeAsAny[IndexSpec]
    routing: RoutingSpec
    attributes: dict[str, AttributeType]
    shards: list[ShardManifest]
    recall_at_10: float | None
    """Of the search that will be served, against exact search: of the kind of query that finds least, see `Tuned`. None
    for an empty version."""
    self_lookup: float | None = None
    """Share of sampled distinct vectors that a search for themselves finds, in the worst shard; None: not measured."""
    tuned: Tuned | None = None
    """What the build chose to reach that; None: it is empty."""
    base: str | None = None
    """The version whose items and log it was compacted from; None: it was built from files."""
    cut: list[str] = []
    """Where the log of every shard stood that was compacted into it: of more shards than its own, where those have
    become fewer."""
    model: str = "text-blend"
    """What ranks: until models are trained, the blend of text likeness, popularity and trend."""
    space: Space | None = None
    """What the vectors are made of; None: texts alone."""
    weights: dict[str, float] | None = None
    """The blend that was learned; None: the scenarios' own."""
    card: ModelCard | None = None
    ranker_sha256: str | None = None
    """Of `ranker.txt`; None: there is none."""
    model_sha256: str | None = None
    """Of `model.npz`, by which later versions of other items go on with what was learned; None: nothing was."""

    def fits(self, platform: Platform) -> bool:
        """Whether its shards are the platform's: as many, and each owning the same items."""
        return len(self.shards) == platform.shards and self.routing == platform.routing


def tuned_of(manifest: Manifest) -> dict[str, Any] | None:
    """For scripts; None: the version is empty, or of before this was noted."""
    if manifest.tuned is None:
        return None
    return {**manifest.tuned.model_dump(), "index": manifest.index.model_dump(), "self_lookup": manifest.self_lookup}
