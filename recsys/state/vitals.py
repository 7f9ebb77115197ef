"""How fast and how whole the answers of each variant are: counted in composers, summed in Redis by the minute."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from recsys.state import redis_keys
from recsys.telemetry import SECONDS

FLUSH_S = 5.0
"""Seconds between two writes."""
_KEPT_S = 1800
_BUCKETS = [str(place) for place in range(len(SECONDS) + 1)]
"""Fields of what is counted, one more than there are bounds."""


def version_label(version: str) -> str:
    """What the answers of a version are noted under, while two are compared."""
    return f"version {version}"


@dataclass(frozen=True, slots=True)
class Pulse:
    """Of one variant, over some minutes."""

    answers: int
    degraded: int
    times: tuple[int, ...]
    """Answers by the first of telemetry.SECONDS that their time does not exceed, and behind them the slower ones."""

    @property
    def degraded_share(self) -> float:
        return self.degraded / self.answers if self.answers else 0.0

    def quantile_s(self, share: float) -> float:
        """Seconds that `share` of the answers did not exceed, linear within a bucket; 0 where there are none."""
        wanted, before = share * sum(self.times), 0
        edges = (0.0, *SECONDS, SECONDS[-1])
        for place, count in enumerate(self.times):
            if count and before + count >= wanted:
                return edges[place] + (edges[place + 1] - edges[place]) * (wanted - before) / count
            before += count
        return 0.0


class Vitals:
    """`note` counts an answer; what was counted goes to Redis behind the requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counts: dict[str, Counter[str]] = {}

    def note(self, variant: str, took_s: float, *, degraded: bool) -> None:
        """`variant`: as the log has it."""
        counts = self._counts.get(variant)
        if counts is None:
            counts = self._counts[variant] = Counter()
        counts[_BUCKETS[bisect_left(SECONDS, took_s)]] += 1
        if degraded:
            counts["degraded"] += 1

    async def flush(self) -> None:
        """Raises RedisError or OSError; what was counted is lost then, for it is of this minute alone."""
        counted, self._counts = self._counts, {}
        if not counted:
            return
        minute = int(time.time() // 60)
        async with self._redis.pipeline(transaction=False) as pipe:
            for variant, counts in counted.items():
                key = redis_keys.vitals(variant, minute)
                for name, count in counts.items():
                    pipe.hincrby(key, name, count)
                pipe.expire(key, _KEPT_S)
            await pipe.execute()

    async def read(self, variant: str, minutes: int) -> Pulse:
        """Of the last minutes, the present one among them. Raises RedisError or OSError."""
        now = int(time.time() // 60)
        async with self._redis.pipeline(transaction=False) as pipe:
            for minute in range(now - minutes + 1, now + 1):
                pipe.hgetall(redis_keys.vitals(variant, minute))
            answers: list[dict[bytes, Any]] = await pipe.execute()
        total: Counter[str] = Counter()
        for counts in answers:
            total.update({name.decode(): int(count) for name, count in counts.items()})
        times = tuple(total[str(place)] for place in range(len(SECONDS) + 1))
        return Pulse(sum(times), total["degraded"], times)
