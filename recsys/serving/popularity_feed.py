"""Popularity and trend of items as a shard follows them: all of its own at first, then what changes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from recsys.shard.shard import Shard
from recsys.state import item_counts, redis_keys
from recsys.state.connection import ask
from recsys.state.counting_script import FEED
from recsys.state.item_counts import PAGE, Counts

MANY = 100_000
"""Items of a shard from which on their numbers are looked for among Redis' keys. 100,000 are read in 0.2 s."""
_ALL_ANEW_S = 86_400.0
"""Seconds after which a feed reads all numbers again: no feed names numbers that expired or were changed by hand."""
_END = ("GET", redis_keys.SEQUENCES)
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)

Pages = list[list[bytes]]
"""By feed, items, each followed by the number of its change, in the order of these."""


class PopularityFeed:
    """Keeps likes and trends of one version's shard up to date. `feeds`: see `Router.feeds`.

    Redis numbers the changes; no clock is involved. A feed remembers the last 10,000 items that changed. A shard that
    has missed more reads all its items again. So does one whose Redis was replaced, or has lost changes that the shard
    had seen. Numbers are read in pages, between which the event loop is free.
    """

    def __init__(self, redis: Redis, feeds: Sequence[int]) -> None:
        self._redis = redis
        self._keys = [redis_keys.touched(feed) for feed in feeds]
        self._seen = [0] * len(self._keys)
        """By feed, the number of the last change that the shard has."""
        self._page = max(PAGE // len(self._keys), 1)
        """Items of each feed that are read at a time: a page of all of them together."""
        self._end = 0
        """Number of the last change of all when the shard was up to date."""
        self._server: str | None = None
        """Redis' run_id; None: nothing was read yet."""
        self._all_at = -math.inf

    async def follow(self, shard: Shard) -> None:
        """Bring the shard's numbers up to date."""
        end, server = await self._look()
        overdue = time.monotonic() - self._all_at > _ALL_ANEW_S
        if end == self._end and server == self._server and not overdue:
            return
        missed, pages = await self._feeds()
        if missed or end < max(self._seen) or server != self._server or overdue:
            self._server = None  # until all of it is read
            async for item_ids in self._all(shard):
                await self._take(shard, item_ids)
            self._seen, self._server, self._all_at = [end] * len(self._keys), server, time.monotonic()
            pages = await self._changes()
        while True:
            if changed := [item.decode() for page in pages for item in page[::2]]:
                await self._take(shard, shard.present(changed))
            self._seen = [int(page[-1]) if page else seen for page, seen in zip(pages, self._seen, strict=True)]
            if all(len(page) < 2 * self._page for page in pages):
                break
            pages = await self._changes()
        self._end = end

    async def _all(self, shard: Shard) -> AsyncIterator[Sequence[str]]:
        """Items of which all numbers are to be read, some at a time: those that are not named have none, here and in
        Redis. Of many items it is mostly cheaper to look through Redis' keys for those that have any.
        """
        if shard.items.live < MANY or await self._redis.dbsize() > shard.items.live:
            for rows in shard.pages(PAGE):
                yield await asyncio.to_thread(shard.ids, rows)
            return
        before = shard.counted_pages(PAGE)
        async for item_ids in item_counts.counted(self._redis):
            for start in range(0, len(item_ids), PAGE):
                if here := shard.present(item_ids[start : start + PAGE]):
                    yield here
        for rows in before:
            yield shard.ids(rows)

    async def _look(self) -> tuple[int, str]:
        """Number of the last change, and the server's run_id ("" where this user may not read it)."""
        end: bytes | None
        try:
            end, about = await ask(self._redis, [_END, ("INFO", "server")])
        except ResponseError:
            [end], about = await ask(self._redis, [_END]), b""
        named = _RUN_ID.search(about)
        return int(end or 0), named[1].decode() if named else ""

    async def _feeds(self) -> tuple[bool, Pages]:
        """Whether a feed has dropped changes that the shard has not seen, and the first page of those that it holds."""
        held = [(("ZCARD", key), ("ZRANGE", key, 0, 0, "WITHSCORES")) for key in self._keys]
        feeds = await ask(self._redis, [*itertools.chain(*held), *self._newer()])
        feeds, pages = feeds[: 2 * len(self._keys)], feeds[2 * len(self._keys) :]
        ends = zip(feeds[::2], feeds[1::2], self._seen, strict=True)
        return any(size >= FEED and int(oldest[1]) > seen for size, oldest, seen in ends), pages

    async def _changes(self) -> Pages:
        return await ask(self._redis, self._newer())

    def _newer(self) -> list[tuple[Any, ...]]:
        """Commands: by feed, up to a page of items that have changed since the shard has read it."""
        told = ("BYSCORE", "LIMIT", 0, self._page, "WITHSCORES")
        return [("ZRANGE", key, f"({seen}", "+inf", *told) for key, seen in zip(self._keys, self._seen, strict=True)]

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
