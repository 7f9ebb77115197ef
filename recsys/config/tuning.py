"""What shards and the encoder go by: their `user_config`, which changes live."""

from __future__ import annotations

from pydantic import Field, model_validator

from recsys.config.base import Settings


class RecallTarget(Settings):
    """The recall@10 that a shard holds while it serves, by raising and lowering `ef_search` on its own."""

    floor: float = Field(0.95, gt=0, le=0.999)
    """Share of the ten nearest items that searches are to find. A scenario may ask for more (`recall_floor`)."""
    confidence: float = Field(0.95, ge=0.5, lt=1)
    """That the lower bound of the measured recall, which is held above the floor, is not above the true one."""
    min_ef: int | None = Field(None, ge=1, le=100_000)
    """How far `ef_search` may be lowered while the floor is held; None: not under the operator's `ef_search`, and not
    under what the version was built to be served with."""
    max_ef: int = Field(512, ge=1, le=100_000)
    """How far it may be raised. At this bound the shard asks for a rebuild."""
    exact_items: int = Field(20_000, ge=0)
    """A shard of at most so many items that finds too little at `max_ef` scores all of them for every search until the
    rebuild; a larger one goes on with what it finds."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> RecallTarget:
        if self.min_ef is not None and self.min_ef > self.max_ef:
            raise ValueError(f"recall.min_ef ({self.min_ef}) is over recall.max_ef ({self.max_ef})")
        return self


class ShardTuning(Settings):
    """A shard's `user_config`."""

    ef_search: int = Field(64, ge=1, le=10_000)
    """HNSW: candidates kept while searching; the lever between recall and speed. A version whose build needed more for
    its recall is served with that, and `recall` raises it where the floor asks for it."""
    exact_below: int = Field(4_000, ge=0)
    """A filter that leaves at most this many items is answered by scoring them all."""
    threads: int = Field(1, ge=1, le=64)
    """Threads of one batch's graph walk."""
    recall_share: float = Field(0.01, ge=0, le=0.5)
    """Share of a core for answering searches again exactly, which measures recall while serving; 0: not measured."""
    recall: RecallTarget | None = RecallTarget()
    """What is done about the measured recall; None: it is told, and nothing is done."""
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
