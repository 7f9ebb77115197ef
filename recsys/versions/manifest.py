"""The manifest of a version: what it contains and how it was built."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import AttributeType, Platform, RoutingSpec
from recsys.model.card import ModelCard
from recsys.model.space import Space
from recsys.routing import FIRST, Layout, Router
from recsys.tuning.outcome import Tuned

RANKER = "ranker.txt"
MODEL = "model.npz"


class ShardManifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int
    cursor: str
    """The last log entry that the snapshot includes. Replicas apply the entries after it."""
    sha256: dict[str, str]
    """Checksum by file name."""


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    created_at: datetime
    items: int
    encoder: EncoderSpec
    fingerprint: str
    """The encoder's; see `encoders/base.py`."""
    index: SerializeAsAny[IndexSpec]
    routing: RoutingSpec
    layout: str = FIRST
    """Id of the layout whose log it follows, see `state/layouts.py`."""
    attributes: dict[str, AttributeType]
    shards: list[ShardManifest]
    recall_at_10: float | None
    """Share of the exact ten nearest items that the served search finds, for the kind of query with the lowest share
    (see `Tuned`). None: the version is empty."""
    self_lookup: float | None = None
    """Share of sampled distinct vectors that a search for the vector itself finds, in the worst shard. None: not
    measured."""
    tuned: Tuned | None = None
    """The settings that the build chose to reach the recall. None: the version is empty."""
    base: str | None = None
    """The version that it was compacted from, with its log. None: it was built from files."""
    model: str = "text-blend"
    """What ranks: `text-blend` (text similarity, popularity and trend) before a model is trained."""
    space: Space | None = None
    """The parts of an item vector. None: the text vector alone."""
    weights: dict[str, float] | None = None
    """The learned weight of each signal. None: the scenarios' own weights are used."""
    card: ModelCard | None = None
    """How the model was trained and how good it is. None: no model was trained."""
    ranker_sha256: str | None = None
    """Checksum of `ranker.txt`. None: there is no tree ranker."""
    model_sha256: str | None = None
    """Checksum of `model.npz`, which later versions of other items reuse. None: no model was trained."""

    def checksums(self) -> dict[str, str]:
        """Return the checksum of every file of the version but the manifest itself, by the path in its folder."""
        files = {f"shard-{n}/{name}": s for n, shard in enumerate(self.shards) for name, s in shard.sha256.items()}
        more = {RANKER: self.ranker_sha256, MODEL: self.model_sha256}
        return files | {name: s for name, s in more.items() if s is not None}

    @property
    def built_for(self) -> Layout:
        return Layout(self.layout, Router(self.routing, len(self.shards)))

    def fits(self, platform: Platform) -> bool:
        """Return whether it has the platform's shard count and routing."""
        return len(self.shards) == platform.shards and self.routing == platform.routing


def tuned_of(manifest: Manifest) -> dict[str, Any] | None:
    """Return the chosen settings and their measurements for `--json`. None: the version is empty."""
    if manifest.tuned is None:
        return None
    return {**manifest.tuned.model_dump(), "index": manifest.index.model_dump(), "self_lookup": manifest.self_lookup}
