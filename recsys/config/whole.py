"""A config file as one object."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning


@dataclass(frozen=True, slots=True)
class Config:
    """What the config file says, read once and passed on."""

    platform: Platform
    serving: Serving
    tuning: ShardTuning
    """Of the shards; where their entries differ, of shard-0. A build measures recall with it."""
