"""The shards as the composer sees them: one call a shard for a batch, within the budget, without the late ones."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from recsys.datatypes import Filter, Floats, Item
from recsys.routing import Router
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.listing import order_of
from recsys.transport.breaker import Breaker
from recsys.transport.clock import Clock
from recsys.transport.deadline import Deadline

R = TypeVar("R")

_FAIR_S = 0.05
"""A shard that works answers within this many seconds. With less time left, a late shard is not to blame."""

_PART = 500
"""Items of which one call asks for the vectors: under a megabyte, and some 10 ms of a shard."""

log = logging.getLogger(__name__)


Breakers = dict[int, Breaker]
"""By shard."""


Begun = Callable[[], Coroutine[Any, Any, CandidateSet]]
"""A search whose question has left: called once at the most, it gives the answer to who awaits it."""


class ShardClient(Protocol):
    """A shard's replicas behind one address.

    A client may have `begin(query) -> Begun | None` too. None: the question cannot leave at once.
    """

    async def search(self, query: ShardQuery) -> CandidateSet: ...
    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]: ...
    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]: ...
    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]: ...


class Shards:
    """All shards. Each answer comes with the names of the shards that are missing in it."""

    def __init__(self, client: Callable[[int], ShardClient], router: Callable[[str], Router]) -> None:
        """`client` returns that of a shard by its number; `router` which shards of a version own what."""
        self._client = client
        self.router = router
        self._breakers: Breakers = defaultdict(Breaker)
        """For searches. Other calls have breakers of their own: they can be late when searches are not."""
        self._lookups: Breakers = defaultdict(Breaker)
        self._bulk: Breakers = defaultdict(Breaker)

    async def search(self, query: ShardQuery, clock: Clock) -> tuple[CandidateSet | None, tuple[str, ...]]:
        """Candidates of the shards that answered in what is left on the clock; None when none did.

        Each shard is asked for the requests whose filters it can hold a match of. Where a shard answered but the server
        of its index did not, `index-N` is named as missing.
        """
        requests = self._requests(query)

        def call(n: int) -> Awaitable[CandidateSet]:
            some = requests[n]
            answer = self._client(n).search(query) if some is None else self._asked(n, query, some)
            return clock.timed(f"shard-{n}", answer)

        return await self._candidates(sorted(requests), call, clock)

    def begin(
        self, query: ShardQuery, clock: Clock
    ) -> Callable[[], Coroutine[Any, Any, tuple[CandidateSet | None, tuple[str, ...]]]] | None:
        """Ask the only shard at once. What is returned waits for the answer, as `search` does, and is called once at
        the most. None: the question has not left, and is for `search` to ask.
        """
        if self.router(query.version).shards != 1 or not self._breakers[0].closed:
            return None
        begin: Callable[[ShardQuery], Begun | None] | None = getattr(self._client(0), "begin", None)
        if begin is None or (begun := begin(query)) is None:
            return None
        asked = clock.now()
        return lambda: self._candidates([0], lambda _: clock.timed("shard-0", begun(), asked), clock)

    async def _candidates(
        self, shards: Sequence[int], call: Callable[[int], Awaitable[CandidateSet]], clock: Clock
    ) -> tuple[CandidateSet | None, tuple[str, ...]]:
        parts, missing = await self._gather(shards, call, clock.left(), self._breakers)
        away = tuple(f"index-{n}" for n, part in parts.items() if part.away)
        return (CandidateSet.merge(list(parts.values())) if parts else None), missing + away

    def _requests(self, query: ShardQuery) -> Mapping[int, Sequence[int] | None]:
        """Shard -> the requests of the batch that it is asked for; None: all of them."""
        router = self.router(query.version)
        if not (router.pins and any(query.filters)):
            return dict.fromkeys(range(router.shards))
        by_shard: dict[int, list[int]] = {}
        for request, given in enumerate(query.filters):
            for shard in router.matching(given):
                by_shard.setdefault(shard, []).append(request)
        return {shard: None if len(own) == query.size else own for shard, own in by_shard.items()}

    async def _asked(self, shard: int, query: ShardQuery, requests: Sequence[int]) -> CandidateSet:
        """Its answer to some requests, as that to the whole batch."""
        chosen = np.array(requests)
        return (await self._client(shard).search(query.part(chosen))).spread(chosen, query.size)

    def concerning(self, version: str, given: Filter | None, missing: Sequence[str]) -> Sequence[str]:
        """Of the shards that are missing in the answer to a batch, those that could hold a match of this filter."""
        if not (missing and self.router(version).pins):
            return missing
        names = {f"shard-{shard}" for shard in self.router(version).matching(given)}
        return [shard for shard in missing if shard in names]

    async def vectors(
        self, version: str, item_ids: Iterable[str], budget_s: float, *, bulk: bool = False
    ) -> tuple[dict[str, Floats], tuple[str, ...]]:
        """(width,) float32 contexts of the items that are there, by id. `bulk`: for work behind the requests, which has
        breakers of its own.

        Many items are asked for in parts, one after another, so that searches get their turn between them.
        """
        owned = self._by_holder(version, item_ids)

        async def call(n: int) -> list[tuple[tuple[str, ...], Floats]]:
            ids = owned[n]
            return [await self._client(n).vectors(version, ids[i : i + _PART]) for i in range(0, len(ids), _PART)]

        parts, missing = await self._gather(sorted(owned), call, budget_s, self._bulk if bulk else self._lookups)
        answers = (answer for of_shard in parts.values() for answer in of_shard)
        return {i: v for ids, vectors in answers for i, v in zip(ids, vectors, strict=True)}, missing

    async def items(
        self, version: str, item_ids: Iterable[str], budget_s: float
    ) -> tuple[dict[str, Item], tuple[str, ...]]:
        """The items that are there, by id."""
        owned = self._by_holder(version, item_ids)
        parts, missing = await self._gather(
            sorted(owned), lambda n: self._client(n).items(version, owned[n]), budget_s, self._lookups
        )
        return {item.item_id: item for items in parts.values() for item in items}, missing

    async def page(
        self, version: str, after: str | None, limit: int, given: Filter | None, budget_s: float
    ) -> tuple[list[Item], tuple[str, ...]]:
        """Up to `limit` items behind the id `after`, see `shard/listing.py`."""
        shards = sorted(self.router(version).matching(given))
        parts, missing = await self._gather(
            shards, lambda n: self._client(n).page(version, after, limit, given), budget_s, self._lookups
        )
        items = {item.item_id: item for part in parts.values() for item in part}
        return [items[i] for i in sorted(items, key=order_of)[:limit]], missing

    def _by_holder(self, version: str, item_ids: Iterable[str]) -> dict[int, list[str]]:
        owned: dict[int, list[str]] = {}
        router = self.router(version)
        for item_id in dict.fromkeys(item_ids):
            for shard in router.holders(item_id):
                owned.setdefault(shard, []).append(item_id)
        return owned

    async def _gather(
        self, shards: Sequence[int], call: Callable[[int], Awaitable[R]], budget_s: float, breakers: Breakers
    ) -> tuple[Mapping[int, R], tuple[str, ...]]:
        asked = [n for n in shards if breakers[n].allows()]
        # One call needs no task of its own, and no waiting for several.
        gather = _one_part if len(asked) == 1 else _parts
        parts, late = await gather(asked, call, max(budget_s, 0.0))
        for n in asked:
            if n in parts:
                breakers[n].record(answered=True)
            # A quick refusal costs nobody anything, and a shard that had hardly any time left is not to blame.
            elif n in late and budget_s >= _FAIR_S and breakers[n].record(answered=False):
                log.warning("shard-%d is late again and again: it is left out, but for a try now and then", n)
        return parts, tuple(f"shard-{n}" for n in shards if n not in parts)


async def _parts(
    shards: Sequence[int], call: Callable[[int], Awaitable[R]], budget_s: float
) -> tuple[dict[int, R], set[int]]:
    """The answers that came in time, and the shards that were late. What failed is in neither."""
    calls = {n: asyncio.ensure_future(call(n)) for n in shards}
    if calls:
        await asyncio.wait(calls.values(), timeout=budget_s)
    parts, late = {}, set()
    for n, answer in calls.items():
        if not answer.done():
            late.add(n)
            answer.cancel()
        elif not answer.cancelled() and answer.exception() is None:
            parts[n] = answer.result()
    return parts, late


async def _one_part(
    shards: Sequence[int], call: Callable[[int], Awaitable[R]], budget_s: float
) -> tuple[dict[int, R], set[int]]:
    """`_parts` of one shard."""
    [n] = shards
    deadline = Deadline(budget_s)
    try:
        with deadline:
            return {n: await call(n)}, set()
    except Exception:  # noqa: BLE001 - whatever failed, the answer is missing
        return {}, {n} if deadline.passed else set()
