"""How often each user was shown which items lately: a small sketch in Redis, which fades.

Two answers at the same moment may overwrite what the other noted: it is a sketch, and its use is to vary slates.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from redis.asyncio import Redis

from recsys.columns import find
from recsys.datatypes import Floats, Keys
from recsys.state import redis_keys

KEPT = 256
"""Items of a user: 3 KB."""
_HALF_LIVES = 10
"""After which what was shown once counts under a thousandth, and the sketch expires."""


@dataclass(frozen=True, slots=True)
class Shown:
    """(n,) sorted uint64 keys of items, and (n,) float32 times that each was shown, faded up to `at`, Unix seconds."""

    at: float
    keys: Keys
    times: Floats

    def faded(self, now: float, half_life_s: float) -> Floats:
        """(n,) the times at `now`."""
        return self.times * np.float32(0.5 ** (max(now - self.at, 0.0) / half_life_s))

    def of(self, keys: Keys, now: float, half_life_s: float) -> Floats:
        """(m,) float32: how often items with these keys were shown."""
        at = find(self.keys, keys)
        return np.where(at < 0, 0.0, self.faded(now, half_life_s)[at] if len(self.keys) else 0.0).astype(np.float32)

    def after(self, keys: Keys, now: float, half_life_s: float) -> Shown:
        """What it is after these items were shown once more."""
        every = np.union1d(self.keys, keys).astype(np.uint64)
        times = self.of(every, now, half_life_s) + np.isin(every, keys)
        if len(every) > KEPT:
            most = np.sort(np.argsort(-times, kind="stable")[:KEPT])
            every, times = every[most], times[most]
        return Shown(now, every, times.astype(np.float32))


NOTHING = Shown(0.0, np.zeros(0, np.uint64), np.zeros(0, np.float32))


class ShownItems:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def load(self, user_ids: Sequence[str]) -> dict[str, Shown]:
        """One trip for all users."""
        blobs: list[Any] = await self._redis.mget([redis_keys.shown(u) for u in user_ids])
        return {u: NOTHING if blob is None else _decode(blob) for u, blob in zip(user_ids, blobs, strict=True)}

    async def save(self, shown: Mapping[str, tuple[Shown, float]]) -> None:
        """Each user's sketch with its half-life in seconds; one trip for all."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id, (sketch, half_life_s) in shown.items():
            pipe.set(redis_keys.shown(user_id), _encode(sketch), ex=int(_HALF_LIVES * half_life_s) + 1)
        await pipe.execute()


def _encode(shown: Shown) -> bytes:
    return struct.pack("<d", shown.at) + shown.keys.tobytes() + shown.times.tobytes()


def _decode(blob: bytes) -> Shown:
    n = (len(blob) - 8) // 12
    keys = np.frombuffer(blob, np.uint64, n, 8)
    return Shown(struct.unpack_from("<d", blob)[0], keys, np.frombuffer(blob, np.float32, n, 8 + 8 * n))
