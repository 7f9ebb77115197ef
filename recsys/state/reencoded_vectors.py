"""Vectors of log entries by another encoder than their own, kept beside the log for all replicas.

The last bits of a vector depend on the texts that it was encoded with. So the first replica to make one stores it, and
all replicas use the stored one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from redis.asyncio import Redis

from recsys.datatypes import Floats
from recsys.state import redis_keys
from recsys.state.item_log import after


class Reencoded:
    """The vectors of one log."""

    def __init__(self, redis: Redis, log: str) -> None:
        """`log`: its name, see `routing.log_name`."""
        self._redis = redis
        self._log = log

    async def vectors(self, fingerprint: str, sequences: Sequence[str]) -> dict[str, Floats]:
        """Stored (d,) float32 vectors by this encoder, by the sequence number of their entry; others are left out."""
        kept: list[Any] = await self._redis.hmget(redis_keys.reencoded(self._log, fingerprint), list(sequences))
        return {s: np.frombuffer(v, np.float32) for s, v in zip(sequences, kept, strict=True) if v is not None}

    async def keep(self, fingerprint: str, vectors: Mapping[str, Floats]) -> None:
        """Store (d,) float32 vectors by the sequence number of their entry. One that is stored already stays."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.sadd(redis_keys.reencoders(self._log), fingerprint)
        for sequence, vector in vectors.items():
            pipe.hsetnx(redis_keys.reencoded(self._log, fingerprint), sequence, vector.tobytes())
        await pipe.execute()

    async def forget(self, cursor: str, fingerprints: Collection[str]) -> None:
        """Drop the vectors of entries up to the cursor, and all by encoders that are not among `fingerprints`.

        A set in Redis names the encoders: a scan for their keys would pass over the keys of every user.
        """
        encoders: Any = await self._redis.smembers(redis_keys.reencoders(self._log))
        for fingerprint in (name.decode() for name in encoders):
            key = redis_keys.reencoded(self._log, fingerprint)
            if fingerprint in fingerprints:
                kept: list[Any] = await self._redis.hkeys(key)
                old = [sequence for sequence in kept if after(sequence.decode()) <= after(cursor)]
                if old:
                    await self._redis.hdel(key, *old)
                continue
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(key)
            pipe.srem(redis_keys.reencoders(self._log), fingerprint)
            await pipe.execute()
