"""One shard's replicas in this process, and what they hold."""

from __future__ import annotations

from typing import Any

from recsys.config.encoder import EncoderSpec
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.serving.shard_replica import ShardReplica
from recsys.state.item_log import Upsert
from tests.support.world import DIMENSION, catalogue


def one_shard(make_world: Any, **options: Any) -> Any:
    return make_world(**({"shards": 1, "items": catalogue(4)} | options))


def contents(replica: ShardReplica, version: str) -> dict[str, tuple[Item, tuple[float, ...]]]:
    """Every live item with its vector."""
    shard = replica.versions[version].shard
    rows = shard.items.live_rows()
    vectors = shard.items.vectors(rows).round(5).tolist()
    return {shard.items.ids[r]: (shard.items.item(r), tuple(v)) for r, v in zip(rows, vectors, strict=True)}


def upsert(item: Item, spec: EncoderSpec | None = None) -> tuple[int, Upsert]:
    encoder = HashingEncoder(spec or EncoderSpec(kind="hashing", dimension=DIMENSION))
    return 0, Upsert(item, encoder.encode([item.passage()])[0], encoder.fingerprint)
