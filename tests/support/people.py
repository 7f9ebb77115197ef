"""People who go from topic to topic, and versions that learn from them."""

from __future__ import annotations

import numpy as np

from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.data.interactions import Interactions
from recsys.encoders.hashing import HashingEncoder
from recsys.model.trained import Trained
from recsys.versions.build import Build, Content
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore
from tests.support.world import ATTRIBUTES, DIMENSION, TOPICS, catalogue


def people(users: int = 80, seed: int = 1) -> Interactions:
    """Everyone stays in a topic for a while, in the order of its numbers, and then goes on to the next."""
    rng = np.random.default_rng(seed)
    topics, rows = list(TOPICS), []
    for u in range(users):
        at, clock = int(rng.integers(4)), 0
        for _ in range(3):
            start = int(rng.integers(0, 8))
            for i in range(start, start + 4):
                rows.append((f"u{u}", f"{topics[at % 4]}-{i}", float(clock)))
                clock += 1
            at += 1
    names, items, times = zip(*rows, strict=True)
    return Interactions.of(names, items, times, catalogue=[item.item_id for item in catalogue()])


def build(store: VersionStore) -> Build:
    spec = EncoderSpec(kind="hashing", dimension=DIMENSION)
    platform = Platform(shards=2, encoder=spec, attributes=ATTRIBUTES, index=IndexSpec.of())
    return Build(platform, store, HashingEncoder(spec), 1, ShardTuning())


def publish(made: Build, model: Trained | None = None) -> Manifest:
    return made.publish(Content(catalogue()), trained=model)
