"""Popularity and trend of items as a shard follows them: all of its own at first, then what changes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.shard.shard import Shard
from recsys.state import item_counts, redis_keys
from recsys.state.item_counts import FEED, PAGE, Counts

_ALL_ANEW_S = 86_400.0
"""Seconds after which a feed reads all numbers again: no feed names numbers that expired or were changed by hand."""


class PopularityFeed:
    """Keeps likes and trends of one version's shard up to date. `feed`: see `Router.feed`.

    Redis numbers the changes; no clock is involved. A feed remembers the last 50,000 items that changed. A shard that
    has missed more reads all its items again. So does one whose Redis was replaced, or has lost changes that the shard
    had seen. Numbers are read in pages, between which the event loop is free.
    """

    def __init__(self, redis: Redis, feed: int) -> None:
        self._redis = redis
        self._key = redis_keys.touched(feed)
        self._seen = 0
        """Number of the last change that the shard has."""
        self._server: str | None = None
        """Redis' run_id; None: nothing was read yet."""
        self._all_at = -math.inf

    async def follow(self, shard: Shard) -> None:
        """Bring the shard's numbers up to date."""
        end, server, size, oldest = await self._look()
        lost = end < self._seen or server != self._server or (size >= FEED and oldest > self._seen)
        if lost or time.monotonic() - self._all_at > _ALL_ANEW_S:
            self._server = None  # until all of it is read
            for rows in shard.pages(PAGE):
                await self._take(shard, await asyncio.to_thread(shard.ids, rows))
            self._seen, self._server, self._all_at = end, server, time.monotonic()
        while page := await self._changes():
            await self._take(shard, shard.present([item.decode() for item, _ in page]))
            self._seen = int(page[-1][1])
            if len(page) < PAGE:
                break

    async def _look(self) -> tuple[int, str, int, float]:
        """Number of the last change, the server's run_id ("" where this user may not read it), how many items the feed
        has, and the number of its oldest.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(redis_keys.SEQUENCES)
        pipe.info("server")
        pipe.zcard(self._key)
        pipe.zrange(self._key, 0, 0, withscores=True)
        end, server, size, oldest = await pipe.execute(raise_on_error=False)
        for answer in (end, size, oldest):
            if isinstance(answer, Exception):
                raise answer
        run_id = str(server["run_id"]) if isinstance(server, dict) else ""
        return int(end or 0), run_id, size, oldest[0][1] if oldest else math.inf

    async def _changes(self) -> list[tuple[bytes, float]]:
        page: Any = await self._redis.zrange(
            self._key, f"({self._seen}", "+inf", byscore=True, offset=0, num=PAGE, withscores=True
        )
        return list(page)

    async def _take(self, shard: Shard, item_ids: Sequence[str]) -> None:
        async with shard.changing:  # the reading as well: an upsert in between has newer numbers
            counts = await item_counts.read(self._redis, item_ids)
            if item_ids:
                await asyncio.to_thread(shard.count, counts)
        await prolong_held(self._redis, counts, shard)


async def prolong_held(redis: Redis, counts: Counts, shard: Shard) -> None:
    """Keep the numbers of items that the shard holds from expiring."""
    items = shard.present(counts.expiring) if counts.expiring else []
    if items:
        with contextlib.suppress(RedisError):  # Redis may refuse writes; the next look tries again
            await item_counts.prolong(redis, items)
