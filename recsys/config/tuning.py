"""What shards and the encoder go by: their `user_config`, which changes live."""

from __future__ import annotations

from pydantic import Field

from recsys.config.base import Settings


class ShardTuning(Settings):
    """A shard's `user_config`."""

    ef_search: int = Field(64, ge=1, le=10_000)
    """HNSW: candidates kept while searching; the lever between recall and speed. A version whose build needed more for
    its recall is served with that."""
    exact_below: int = Field(4_000, ge=0)
    """A filter that leaves at most this many items is answered by scoring them all."""
    threads: int = Field(1, ge=1, le=64)
    """Threads of one batch's graph walk."""
    recall_share: float = Field(0.01, ge=0, le=0.5)
    """Share of a core for answering searches again exactly, which measures recall while serving; 0: not measured."""
    poll_s: float = Field(1.0, gt=0, le=60)
    """Seconds between two looks at popularity and trend."""
    drift_s: float = Field(60.0, gt=0)
    """Seconds between two measurements of drift, each of which reads every vector; none while nothing changes."""


class EncoderTuning(Settings):
    """The Encoder's `user_config`."""

    max_batch: int = Field(32, ge=1, le=1024)
    """Texts encoded in one go."""
    cache_texts: int = Field(10_000, ge=0)
    """Texts whose vectors a replica remembers."""
