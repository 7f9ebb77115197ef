"""The shards as the composer sees them: one call a shard for a batch, each within the budget, the late left out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from recsys.datatypes import Floats, Item
from recsys.routing import Router
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.transport.breaker import Breaker
from recsys.transport.clock import Clock

R = TypeVar("R")

_FAIR_S = 0.05
"""Seconds of a budget with which a shard that works answers."""

_PART = 500
"""Items whose vectors are asked for in one call: under a megabyte, some 10 ms of a shard."""

log = logging.getLogger(__name__)


class ShardClient(Protocol):
    """A shard's replicas behind one address."""

    async def search(self, query: ShardQuery) -> CandidateSet: ...
    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]: ...
    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]: ...


class Shards:
    """Answers come with the names of the shards that did not give theirs."""

    def __init__(self, clients: Sequence[ShardClient], router: Router) -> None:
        self._clients = clients
        self._breakers = [Breaker() for _ in clients]
        """Of searches. What else is asked of a shard has breakers of its own: it can be late where searches are not."""
        self._lookups = [Breaker() for _ in clients]
        self._bulk = [Breaker() for _ in clients]
        self.router = router

    async def search(self, query: ShardQuery, clock: Clock) -> tuple[CandidateSet | None, tuple[str, ...]]:
        """Candidates of the shards that answered in what is left on the clock; None when none did."""
        asked = sorted(set().union(*(self.router.matching(f) for f in query.filters)))

        def call(n: int) -> asyncio.Future[CandidateSet]:
            made = asyncio.ensure_future(self._clients[n].search(query))
            clock.follow(f"shard-{n}", made)
            return made

        parts, missing = await self._gather(asked, call, clock.left(), self._breakers)
        return (CandidateSet.merge(list(parts.values())) if parts else None), missing

    async def vectors(
        self, version: str, item_ids: Iterable[str], budget_s: float, *, bulk: bool = False
    ) -> tuple[dict[str, Floats], tuple[str, ...]]:
        """Vectors of the items that are known. `bulk`: for work behind the requests, with breakers of its own.

        Many are asked for in parts, one after another, so that searches find their turn between them.
        """
        owned = self._by_holder(item_ids)

        async def call(n: int) -> list[tuple[tuple[str, ...], Floats]]:
            ids = owned[n]
            return [await self._clients[n].vectors(version, ids[i : i + _PART]) for i in range(0, len(ids), _PART)]

        parts, missing = await self._gather(sorted(owned), call, budget_s, self._bulk if bulk else self._lookups)
        found = (part for answers in parts.values() for part in answers)
        return {i: v for ids, vectors in found for i, v in zip(ids, vectors, strict=True)}, missing

    async def items(
        self, version: str, item_ids: Iterable[str], budget_s: float
    ) -> tuple[dict[str, Item], tuple[str, ...]]:
        owned = self._by_holder(item_ids)
        parts, missing = await self._gather(
            sorted(owned), lambda n: self._clients[n].items(version, owned[n]), budget_s, self._lookups
        )
        return {item.item_id: item for items in parts.values() for item in items}, missing

    def _by_holder(self, item_ids: Iterable[str]) -> dict[int, list[str]]:
        owned: dict[int, list[str]] = {}
        for item_id in dict.fromkeys(item_ids):
            for shard in self.router.holders(item_id):
                owned.setdefault(shard, []).append(item_id)
        return owned

    async def _gather(
        self, shards: Sequence[int], call: Callable[[int], Awaitable[R]], budget_s: float, breakers: Sequence[Breaker]
    ) -> tuple[Mapping[int, R], tuple[str, ...]]:
        calls = {n: asyncio.ensure_future(call(n)) for n in shards if breakers[n].allows()}
        if calls:
            await asyncio.wait(calls.values(), timeout=max(budget_s, 0.0))
        parts = {}
        for n, made in calls.items():
            if made.done() and not made.cancelled() and made.exception() is None:
                parts[n] = made.result()
                breakers[n].record(answered=True)
                continue
            # A quick refusal costs nobody anything, and with hardly any time left nothing is said of the shard.
            if not made.done() and budget_s >= _FAIR_S and breakers[n].record(answered=False):
                log.warning("shard-%d is late again and again: it is left out, but for a try now and then", n)
            made.cancel()
        return parts, tuple(f"shard-{n}" for n in shards if n not in parts)
