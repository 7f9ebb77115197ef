"""A whole platform in one process: real shards, replicas, follower and gateway around a real Redis, without Ray."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson
from redis.asyncio import Redis

from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Filter, Floats, Interaction, Item
from recsys.encoders.hashing import HashingEncoder
from recsys.routing import Router
from recsys.serving.gateway import Gateway
from recsys.serving.shard_replica import ShardReplica
from recsys.serving.version_follower import VersionFollower
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.state import item_counts
from recsys.telemetry import SILENT, Telemetry
from recsys.versions.build import Build, Content
from recsys.versions.manifest import Manifest
from recsys.versions.store import MANIFEST, VersionStore

DIMENSION = 32
TOPICS = {
    "space": "rocket orbit star planet comet",
    "kitchen": "bread oven salt butter knife",
    "forest": "oak fern moss owl trail",
    "sea": "wave harbour sail anchor reef",
}
NOW = 1_760_000_000.0
"""Unix seconds of the first event; later ones follow a second apart."""


def catalogue(each: int = 12) -> list[Item]:
    """`each` items of every topic; texts of one topic share most words, so they are each other's neighbours."""
    items = []
    for topic, words in TOPICS.items():
        for i in range(each):
            attributes: dict[str, Any] = {"topic": topic, "number": float(i), "tags": [topic, f"n{i % 3}"]}
            items.append(Item(f"{topic}-{i}", f"{topic} {words}", f"{words} {topic}{i}", attributes, NOW - 86_400 * i))
    return items


ATTRIBUTES = {"topic": "keyword", "tags": "keyword[]", "number": "number"}
_numbers = itertools.count()


def event(user_id: str, item_id: str, **given: Any) -> Interaction:
    number = next(_numbers)
    defaults = {"event_id": f"e{number}", "type": "like", "timestamp": NOW + number}
    return Interaction(user_id=user_id, item_id=item_id, **(defaults | given))


async def eventually(test: Callable[[], Awaitable[Any] | Any], within_s: float = 60) -> Any:
    """Wait until the test gives something true; its last answer when it never does."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        answer = test()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer or asyncio.get_running_loop().time() > deadline:
            return answer
        await asyncio.sleep(0.02)


class LocalShard:
    """The replicas of a shard in this process, called in turn. `error` and `delay_s` make it fail or late."""

    def __init__(self, replicas: list[ShardReplica]) -> None:
        self.replicas = replicas
        self.error: Exception | None = None
        self.delay_s = 0.0
        self.searches = 0
        self._turn = itertools.count()

    async def search(self, query: ShardQuery) -> CandidateSet:
        self.searches += 1
        return await (await self._next()).search(query)

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        return await (await self._next()).vectors(version, item_ids)

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        return await (await self._next()).items(version, item_ids)

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:
        return await (await self._next()).page(version, after, limit, given)

    async def _next(self) -> ShardReplica:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return self.replicas[next(self._turn) % len(self.replicas)]


class World:
    def __init__(
        self,
        root: Path,
        redis: Redis,
        items: Sequence[Item] | None = None,
        shards: int = 2,
        replicas: int = 1,
        serving: Serving | None = None,
        telemetry: Telemetry = SILENT,
        first_versions: Path | None = None,
        **platform: Any,
    ) -> None:
        """`first_versions`: where worlds of equal items and settings share what they start with, built by the first of
        them and linked by the others, so nobody writes into its files; None: this one builds for itself.
        """
        options = {
            "encoder": EncoderSpec(kind="hashing", dimension=DIMENSION),
            "index": IndexSpec.of("hnsw"),
            "attributes": ATTRIBUTES,
            "data_dir": root.parent / "home",
        }
        self.platform = Platform(shards=shards, **(options | platform))
        self.store = VersionStore(root)
        self.redis = redis
        self.items = catalogue() if items is None else list(items)
        self.encoder_down = False
        self.encoder_delay_s = 0.0
        self.encoded: list[Sequence[str]] = []
        """Texts of each call to the encoder."""
        self._telemetry = telemetry
        self._first_versions = first_versions
        self.clients: list[LocalShard] = []
        self._replicas = replicas
        self._serving = serving or Serving(budget_s=20)  # nothing is late unless a test wants it
        self._ids = itertools.count()
        self._everyone: list[ShardReplica] = []

    def publish(self, items: Sequence[Item] | None = None, *, platform: Platform | None = None) -> Manifest:
        chosen = platform or self.platform
        build = Build(chosen, self.store, HashingEncoder(chosen.encoder), 1, ShardTuning())
        return build.publish(Content(self.items if items is None else items))

    def start_with_a_version(self) -> None:
        """Promote a version of the world's items in its store, which holds none yet."""
        if self._first_versions is None:
            self.store.promote(self.publish().version)
            return
        settings = self.platform.model_dump_json(include={"shards", "routing", "encoder", "index", "attributes"})
        recipe = settings.encode() + orjson.dumps(self.items)
        built = VersionStore(self._first_versions / hashlib.sha256(recipe).hexdigest())
        if not built.versions():
            made = Build(self.platform, built, HashingEncoder(self.platform.encoder), 1, ShardTuning())
            made.publish(Content(self.items))
        [first] = built.versions()
        shutil.copytree(built.folder(first.version), self.store.folder(first.version), copy_function=_share)
        self.store.switch(first.version)  # now, for a version that has served for ten minutes is kept longer

    async def encode(self, version: str, texts: Sequence[str]) -> Floats:
        if self.encoder_down:
            raise RuntimeError("no encoder")
        self.encoded.append(texts)
        await asyncio.sleep(self.encoder_delay_s)
        return HashingEncoder(self.store.manifest(version).encoder).encode(texts)

    async def _encode(self, version: str, texts: Sequence[str]) -> Floats:
        """By what is `encode` now: tests put something else there."""
        return await self.encode(version, texts)

    @property
    def router(self) -> Router:
        return Router(self.platform.routing, self.platform.shards)

    async def add_replica(self, shard: int) -> ShardReplica:
        replica = ShardReplica(shard, f"r{next(self._ids)}", self.store, self.redis, self.encode, self._telemetry)
        self._everyone.append(replica)
        replica.tune(ShardTuning(poll_s=0.25, drift_s=0.2))
        await replica.start()
        self.clients[shard].replicas.append(replica)
        return replica

    async def add_shard(self) -> None:
        """As the deployment of one more shard starts: it has the number behind the last."""
        self.clients.append(LocalShard([]))
        for _ in range(self._replicas):
            await self.add_replica(len(self.clients) - 1)

    async def __aenter__(self) -> Self:
        if self.store.current() is None:
            self.start_with_a_version()
        for _ in range(self.platform.shards):
            await self.add_shard()
        self.follower = VersionFollower("composer", self.store, self.redis, self._telemetry)
        await self.follower.start(30)
        self.gateway = Gateway(
            self.platform,
            lambda shard: self.clients[shard],
            self._encode,
            self.redis,
            self.follower,
            self._telemetry,
        )
        self.gateway.configure(self._serving)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.gateway.stop()
        await self.follower.stop()
        for replica in self._everyone:
            await replica.stop()
        # FastAPI remembers the routes of about ninety APIs, and so their worlds: none keeps files mapped and open.
        self._everyone.clear()
        for client in self.clients:
            client.replicas.clear()

    async def counted(self) -> None:
        """Wait until all replicas have the likes and trends of all events that were recorded. Until then an answer may
        be another one than a moment later.
        """
        assert await eventually(self._all_counted)

    async def _all_counted(self) -> bool:
        version = self.follower.serve.version
        for replica in [replica for client in self.clients for replica in client.replicas]:
            items = replica.versions[version].shard.items
            rows = items.live_rows()
            counts = await item_counts.read(self.redis, [items.ids[row] for row in rows])
            if (items.counts.view[rows] != counts.likes).any() or (items.trends.view[rows] != counts.trends).any():
                return False
        return True

    def popular_ids(self) -> list[str]:
        return [item.item_id for item in self.items]


def _share(source: str, target: str) -> None:
    """A link takes a sixth of a copy's processor time. Tests write into manifests."""
    (shutil.copyfile if Path(source).name == MANIFEST else os.link)(source, target)


def topic_of(item_id: str) -> str:
    return item_id.split("-", maxsplit=1)[0]


def unit_rows(vectors: np.ndarray) -> Floats:
    """The rows at length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
