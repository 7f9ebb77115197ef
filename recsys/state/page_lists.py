"""The lists that pages are cut from: what was ranked at the first page, in Redis until nobody turns pages any more."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
from redis.asyncio import Redis

from recsys.state import redis_keys


class PageItem(msgspec.Struct, frozen=True, array_like=True):
    item_id: str
    score: float
    source: str
    reasons: tuple[dict[str, str], ...]
    signals: dict[str, float] | None
    contributions: dict[str, float] | None


class PageList(msgspec.Struct, frozen=True, array_like=True):
    items: tuple[PageItem, ...]
    """In the order in which they are shown."""
    ended: bool
    """Whether the scenario has nothing behind them."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PageList).decode


class PageLists:
    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    async def load(self, list_id: bytes) -> PageList | None:
        """None: it was never stored, or has expired. A list that is read lives anew."""
        stored: Any = await self._redis.getex(redis_keys.page(list_id.hex()), ex=self._ttl_s)
        return None if stored is None else _decode(zlib.decompress(stored))

    async def save(self, list_id: bytes, pages: PageList) -> None:
        await self._redis.set(redis_keys.page(list_id.hex()), zlib.compress(_encode(pages), 1), ex=self._ttl_s)
