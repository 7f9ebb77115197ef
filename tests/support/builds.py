"""Builds of small versions, and their shards."""

from __future__ import annotations

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.encoders.hashing import HashingEncoder
from recsys.versions.build import Build
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.world import ATTRIBUTES, DIMENSION

SHARD_FILES = (
    "items.parquet",
    "columns.bin",
    "documents.bin",
    "documents_at.npy",
    "vectors.npy",
    "sketch.npy",
    "index.bin",
    "index.nodes",
)
"""What a version has of each shard."""


def build(store: VersionStore, **platform) -> Build:
    options = {"encoder": EncoderSpec(kind="hashing", dimension=DIMENSION), "attributes": ATTRIBUTES, "shards": 2}
    made = Platform(**(options | platform))
    return Build(made, store, HashingEncoder(made.encoder), 1, ShardTuning())


def shards_of(store: VersionStore, version: str):
    return [open_shard(store, version, n) for n in range(len(store.manifest(version).shards))]
