"""A process of replicas of `many_shards`, some of whose searches are late: `python -m load_tests.parts.slow_replicas`.

Its one argument is a `Given` as JSON. It ends with its standard input; a line of that is the share of searches that are
late from then on.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import msgspec
from redis.asyncio import Redis

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats
from recsys.errors import Unavailable
from recsys.serving.shard_replica import ShardReplica
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.state.connection import connect
from recsys.versions.store import VersionStore


class Given(msgspec.Struct, frozen=True):
    """What a process is told."""

    process: int
    shards: list[int]
    """Of each of which it has one replica."""
    url: str
    """Of Redis."""
    prefix: str
    store: str
    """The folder of the versions."""
    late_s: float
    """Seconds by which a search is late."""


class SlowReplica(ShardReplica):
    """Answers a share of its searches late; without work, so that the machine has the time."""

    share = 0.0
    late_s = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._late: set[int] = set()
        """Queries, by `id`, that are answered late."""

    def search_at_once(self, query: ShardQuery) -> CandidateSet | None:
        if random.random() >= self.share:
            return super().search_at_once(query)
        self._late.add(id(query))
        return None

    async def search_later(self, query: ShardQuery) -> CandidateSet:
        if id(query) in self._late:
            self._late.discard(id(query))
            await asyncio.sleep(self.late_s)
        return await super().search_later(query)


async def no_encoder(*_: object) -> Floats:
    raise Unavailable("no text is searched for")


async def work(given: Given) -> None:
    redis: Redis = connect(given.url, prefix=given.prefix)
    store = VersionStore(given.store)
    replicas = [SlowReplica(s, f"p{given.process}-{s}", store, redis, no_encoder) for s in given.shards]
    for replica in replicas:
        replica.tune(ShardTuning(recall_share=0.0))
        replica.late_s = given.late_s
        await replica.start("127.0.0.1")
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        for replica in replicas:
            replica.share = float(line)
    await asyncio.gather(*(replica.stop() for replica in replicas))
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Given)))
