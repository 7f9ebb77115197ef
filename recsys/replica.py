"""A shard's replica: the served version and the next one side by side, each following the shard's log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.candidates import CandidateSet, ShardQuery
from recsys.config import ShardTuning
from recsys.datatypes import Floats, Item
from recsys.errors import Unavailable, VersionError
from recsys.itemlog import Delete, Entry, ItemLog, Upsert
from recsys.membership import Member, Members
from recsys.popularity import Counts, PopularityFeed
from recsys.retrieval import search
from recsys.shard import Shard
from recsys.versions import VersionStore

Encode = Callable[[str, Sequence[str]], Awaitable[Floats]]
"""(version, texts) -> (n, d) vectors by that version's encoder."""

_FOLLOW_S = 0.5
_LINGER_S = 5.0
"""A version that no composer serves any more is kept this long for requests under way."""

log = logging.getLogger(__name__)


class ShardReplica:
    def __init__(self, shard: int, replica_id: str, store: VersionStore, redis: Redis, encode: Encode) -> None:
        self._number = shard
        self._store = store
        self._log = ItemLog(redis)
        self._members = Members(redis)
        self._feed = PopularityFeed(redis)
        self._encode = encode
        self._member = Member(role="shard", id=replica_id, shard=shard)
        self._shards: dict[str, Shard] = {}
        self._unused_since: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tuning = ShardTuning()

    async def start(self) -> None:
        """Load the current version, catch up with the log, and follow both from now on."""
        await self._load(await self._current())
        for name, step in (("follow", self._follow), ("popularity", self._popularity)):
            self._tasks[name] = asyncio.create_task(_forever(name, step))

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._members.leave(self._member)

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning
        for shard in self._shards.values():
            shard.tune(tuning)

    def healthy(self) -> bool:
        """Whether it serves, and everything that runs in the background still does."""
        return bool(self._shards) and not any(task.done() for task in self._tasks.values())

    async def search(self, query: ShardQuery) -> CandidateSet:
        """In a thread: a walk takes milliseconds and releases the interpreter, the loop stays free for other calls."""
        return await asyncio.to_thread(search, self._shard(query.version), query)

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        return self._shard(version).vectors_of(item_ids)

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        found = map(self._shard(version).item, item_ids)
        return [item for item in found if item is not None]

    def _shard(self, version: str) -> Shard:
        shard = self._shards.get(version)
        if shard is None:
            raise Unavailable(f"shard-{self._number} does not hold version {version}")
        return shard

    async def _current(self) -> str:
        current = await asyncio.to_thread(self._store.current)
        if current is None:
            raise VersionError("no version is promoted; `recsys build` and `recsys promote` make one")
        return current

    async def _load(self, version: str) -> None:
        shard = await asyncio.to_thread(self._store.load, version, self._number)
        shard.tune(self._tuning)
        fingerprint = self._store.manifest(version).fingerprint
        while await self._catch_up(shard, fingerprint):
            continue
        shard.count(await PopularityFeed(self._feed.redis).changes())
        self._shards[version] = shard
        self._tasks[f"log:{version}"] = asyncio.create_task(
            _forever(f"log:{version}", lambda: self._tail(shard, fingerprint))
        )
        await self._say()
        log.info("shard-%d serves version %s with %d items", self._number, version, shard.items.live)

    async def _tail(self, shard: Shard, fingerprint: str) -> None:
        if await self._catch_up(shard, fingerprint, wait_ms=500):
            await self._say()

    async def _catch_up(self, shard: Shard, fingerprint: str, wait_ms: int | None = None) -> bool:
        """Apply what the log holds behind the cursor; False when it held nothing."""
        entries = await self._log.read(self._number, shard.cursor, wait_ms=wait_ms)
        if entries:
            upserts, deletes = _final(entries)
            vectors = await self._vectors(shard, upserts, fingerprint)
            await asyncio.to_thread(_apply, shard, upserts, vectors, deletes)
            shard.cursor = entries[-1].sequence
        return bool(entries)

    async def _vectors(self, shard: Shard, upserts: Sequence[Upsert], fingerprint: str) -> Floats:
        """The logged vectors; of entries that another encoder made, vectors by this version's own."""
        vectors = np.zeros((len(upserts), shard.items.dimension), np.float32)
        foreign = [i for i, u in enumerate(upserts) if u.fingerprint != fingerprint]
        for i in set(range(len(upserts))).difference(foreign):
            vectors[i] = upserts[i].vector
        if foreign:
            vectors[foreign] = await self._encode(shard.version, [upserts[i].item.passage() for i in foreign])
        return vectors

    async def _popularity(self) -> None:
        changes: Counts = await self._feed.changes()
        for shard in self._shards.values():
            shard.count(changes)
        await asyncio.sleep(self._tuning.poll_s)

    async def _follow(self) -> None:
        """Load what was promoted, drop what nobody serves any more."""
        current = await self._current()
        if current not in self._shards:
            await self._load(current)
        members = await self._members.all()
        served = {m.serving for m in members if m.role == "composer"} | {current}
        for version in [v for v in self._shards if v not in served]:
            since = self._unused_since.setdefault(version, time.monotonic())
            if time.monotonic() - since > _LINGER_S:
                self._tasks.pop(f"log:{version}").cancel()
                del self._shards[version], self._unused_since[version]
        await self._say()
        await asyncio.sleep(_FOLLOW_S)

    async def _say(self) -> None:
        newest = next(reversed(self._shards.values()))
        update = {"versions": {v: s.cursor for v, s in self._shards.items()}, "items": newest.items.live}
        self._member = self._member.model_copy(update=update)
        await self._members.say(self._member)


def _final(entries: Sequence[Entry]) -> tuple[list[Upsert], list[str]]:
    """What the entries come to: the last word on each item."""
    last: dict[str, Upsert | Delete] = {}
    for entry in entries:
        change = entry.change
        last[change.item.item_id if isinstance(change, Upsert) else change.item_id] = change
    upserts = [c for c in last.values() if isinstance(c, Upsert)]
    return upserts, [c.item_id for c in last.values() if isinstance(c, Delete)]


def _apply(shard: Shard, upserts: Sequence[Upsert], vectors: Floats, deletes: Sequence[str]) -> None:
    if deletes:
        shard.delete(deletes)
    if upserts:
        shard.upsert([u.item for u in upserts], vectors)


async def _forever(name: str, step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step; when Redis or the version store is away, say so and try again."""
    while True:
        try:
            await step()
        except (RedisError, OSError, Unavailable, VersionError) as error:
            log.warning("%s: %s; trying again", name, error)
            await asyncio.sleep(_FOLLOW_S)
