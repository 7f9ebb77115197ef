"""What composers ask a shard's replica over its channel, as bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from recsys.datatypes import Filter, Floats, Item
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.told_profiles import Untold
from recsys.transport import wire


class Replica(Protocol):
    """What is asked of a `ShardReplica`, which says what each does."""

    def search_at_once(self, query: ShardQuery) -> CandidateSet | None: ...
    async def search_later(self, query: ShardQuery) -> CandidateSet: ...
    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]: ...
    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]: ...
    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]: ...


class ChannelCalls:
    """`answer` is a channel's handler."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def answer(self, method: int, payload: bytes) -> bytes | Awaitable[bytes]:
        """The answer, or what it is waited for with. Raises what `ShardReplica` raises, and for other messages
        msgspec.DecodeError and ValueError.
        """
        if method != wire.SEARCH:
            return self._look_up(method, payload)
        query = wire.decode_query(payload)
        try:
            candidates = self._replica.search_at_once(query)
        except Untold:
            return wire.UNTOLD
        return self._search(query) if candidates is None else wire.encode(candidates)

    async def _search(self, query: ShardQuery) -> bytes:
        try:
            return wire.encode(await self._replica.search_later(query))
        except Untold:
            return wire.UNTOLD

    async def _look_up(self, method: int, payload: bytes) -> bytes:
        replica = self._replica
        if method == wire.PAGE:
            request = wire.decode_page(payload)
            return wire.encode(await replica.page(request.version, request.after, request.limit, request.filter))
        lookup = wire.decode_lookup(payload)
        if method == wire.VECTORS:
            return wire.encode(wire.ItemVectors(*await replica.vectors(lookup.version, lookup.item_ids)))
        if method == wire.ITEMS:
            return wire.encode(await replica.items(lookup.version, lookup.item_ids))
        raise ValueError(f"there is no method {method}")
