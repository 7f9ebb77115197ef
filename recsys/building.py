"""From items to a published version: encode, split into shards, index, verify, publish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config import Platform, ShardTuning
from recsys.datatypes import Floats, Item
from recsys.encoder import Encoder
from recsys.errors import VersionError
from recsys.evaluation import recall, sample_queries, sample_tastes
from recsys.routing import Router
from recsys.shard import START_OF_LOG
from recsys.sketches import Sketcher
from recsys.snapshot import read_shard, write_shard
from recsys.training.model import Layout, Trained
from recsys.versions import RANKER, Manifest, ShardManifest, VersionStore, sha256

Progress = Callable[[str, int, int], None]
"""Called with a phase, how much of it is done, and of how much."""

_ENCODED_TOGETHER = 256
_RECALL_QUERIES = 500
RECALL_FLOOR = 0.95
"""A version whose measured recall@10 is below this is not published."""


@dataclass(frozen=True, slots=True)
class Build:
    """What a version is built with."""

    platform: Platform
    store: VersionStore
    encoder: Encoder
    threads: int
    tuning: ShardTuning

    def publish(
        self,
        items: Sequence[Item],
        progress: Progress = lambda *_: None,
        trained: Trained | None = None,
        texts: Floats | None = None,
    ) -> Manifest:
        """Build and publish a version, not yet promoted. The last of several items with one id wins.

        `trained` None: texts alone. `texts`: the (n, d) vectors of the items, whose ids then all differ; None: encode.
        Raises VersionError when its recall@10 is under RECALL_FLOOR.
        """
        if texts is None:
            items = list({item.item_id: item for item in items}.values())
            texts = self.encode(items, progress)
        version = self.store.new_name()
        with self.store.draft(version) as draft:
            manifest = self._write(draft, version, list(items), texts, trained, progress)
            self.store.publish(draft, manifest)
        return manifest

    def _write(
        self,
        draft: Path,
        version: str,
        items: list[Item],
        texts: Floats,
        trained: Trained | None,
        progress: Progress,
    ) -> Manifest:
        """Fill a draft; what it holds. Raises VersionError when its recall@10 is under RECALL_FLOOR."""
        layout = None if trained is None else trained.layout([item.item_id for item in items], texts)
        vectors = texts if layout is None else layout.vectors
        router = Router(self.platform.routing, self.platform.shards)
        owners = np.fromiter((router.owner(item) for item in items), np.int64, len(items))
        sketcher = Sketcher.fit(texts)
        manifests, shards = [], []
        for number in range(self.platform.shards):
            progress("index", number, self.platform.shards)
            mine = np.flatnonzero(owners == number)
            folder = draft / f"shard-{number}"
            own = [items[i] for i in mine]
            learned = None if layout is None else layout.part(mine)
            write_shard(folder, own, vectors[mine], self.platform.index, sketcher, self.threads, learned)
            sums = {path.name: sha256(path) for path in sorted(folder.iterdir())}
            manifests.append(ShardManifest(items=len(mine), cursor=START_OF_LOG, sha256=sums))
            shard = read_shard(folder, version, self.platform.index, self.platform.attributes, START_OF_LOG)
            shard.tune(self.tuning)
            shards.append(shard)
        progress("index", self.platform.shards, self.platform.shards)
        progress("verify", 0, 1)
        measured = recall(shards, _queries(texts, layout)) if items else None
        progress("verify", 1, 1)
        if measured is not None and measured < RECALL_FLOOR:
            raise VersionError(
                f"recall@10 is {measured:.4f}, under {RECALL_FLOOR}; raise ef_search of the shards, or index.m"
            )
        return Manifest(
            version=version,
            created_at=datetime.now(UTC),
            items=len(items),
            encoder=self.platform.encoder,
            fingerprint=self.encoder.fingerprint,
            index=self.platform.index,
            routing=self.platform.routing,
            attributes=dict(self.platform.attributes),
            shards=manifests,
            recall_at_10=measured,
            **({} if trained is None else _learned(draft, trained)),
        )

    def encode(self, items: Sequence[Item], progress: Progress = lambda *_: None) -> Floats:
        vectors = np.zeros((len(items), self.encoder.dimension), np.float32)
        for start in range(0, len(items), _ENCODED_TOGETHER):
            progress("encode", start, len(items))
            part = items[start : start + _ENCODED_TOGETHER]
            vectors[start : start + len(part)] = self.encoder.encode([item.passage() for item in part])
        progress("encode", len(items), len(items))
        return vectors


def _queries(texts: Floats, layout: Layout | None) -> Floats:
    """What the version will be asked: texts, and of one that learned tastes as well, half and half."""
    if layout is None:
        return sample_queries(texts, _RECALL_QUERIES)
    space = layout.trained.space
    contexts = np.concatenate([texts, layout.contexts], axis=1)
    tastes = [space.query(taste) for taste in sample_tastes(space.added(contexts), _RECALL_QUERIES // 2)]
    searched = [space.text_query(text) for text in sample_queries(texts, _RECALL_QUERIES // 2)]
    return np.stack([*tastes, *searched])


def _learned(draft: Path, trained: Trained) -> dict[str, Any]:
    """Write the ranking model; what the manifest says of the training."""
    checksum = None
    if trained.ranker is not None:
        (draft / RANKER).write_text(trained.ranker)
        checksum = sha256(draft / RANKER)
    model = "learned-blend" if trained.ranker is None else "learned-trees"
    told = {"space": trained.space, "weights": dict(trained.weights), "card": trained.card}
    return {"model": model, "ranker_sha256": checksum, **told}
