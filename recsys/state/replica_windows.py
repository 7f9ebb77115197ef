"""What each replica measured of itself lately, in one hash of Redis, for those who look at the platform as it runs.

Prometheus has the whole story, where it runs. This is the last window of each replica alone, small enough to be read
as a whole every other second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from recsys.state import redis_keys


class ReplicaWindow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One window of one replica. A measurement is named by its metric and the values of its labels, with `|` between:
    `recsys_answer_seconds|recommend`.
    """

    deployment: str
    """Composer, Encoder, shard-0, …"""
    number: int
    """Of the window; it grows by one."""
    window_s: float
    """Length of the window, in seconds."""
    gauges: Mapping[str, float] = {}
    """As they were set last."""
    counts: Mapping[str, float] = {}
    """What was added to counters within the window."""
    buckets: Mapping[str, Mapping[int, int]] = {}
    """Histograms of the window: number of the bucket (see `Metric.buckets`; one more than there are edges: above the
    last) -> measurements in it."""


KEY = redis_keys.WINDOWS

_decode = msgspec.json.Decoder(ReplicaWindow).decode


async def write(redis: Redis, replica: str, window: ReplicaWindow) -> None:
    """Replace the replica's last window. Raises RedisError or OSError."""
    await redis.hset(KEY, replica, msgspec.json.encode(window))


async def remove(redis: Redis, *replicas: str) -> None:
    """Forget replicas that are gone. Raises RedisError or OSError."""
    await redis.hdel(KEY, *replicas)


async def read(redis: Redis) -> dict[str, ReplicaWindow]:
    """The last window of each replica that is known, gone ones too; records of another release are left out.

    Raises RedisError or OSError.
    """
    stored: Any = await redis.hgetall(KEY)
    windows = {}
    for replica, record in stored.items():
        try:
            windows[replica.decode()] = _decode(record)
        except msgspec.DecodeError:
            continue
    return windows
