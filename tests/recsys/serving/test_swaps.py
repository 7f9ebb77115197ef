"""Ten live swaps between two vector spaces, under reads, events, upserts and deletes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from functools import cache

import numpy as np

from recsys.answers import Slate
from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item, RecQuery
from recsys.encoders.hashing import HashingEncoder
from recsys.versions.build import Build
from recsys.versions.contents import live_content
from tests.support.world import ATTRIBUTES, DIMENSION, World, catalogue, event, eventually


class Turned(HashingEncoder):
    """Another vector space of the same dimension, so that mixing the two raises nothing: it only gives wrong scores."""

    def encode(self, texts):
        return super().encode(texts)[:, ::-1].copy()


PLAIN = EncoderSpec(kind="hashing", dimension=DIMENSION)
OTHER = EncoderSpec(kind="hashing", dimension=DIMENSION, max_tokens=100)


def encoder_of(spec: EncoderSpec) -> HashingEncoder:
    return Turned(spec) if spec == OTHER else HashingEncoder(spec)


class Traffic:
    """Reads, writes and swaps of one world until ten swaps are over; each read checks its own answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.texts = {item.item_id: item.passage() for item in world.items}
        self.encoder = cache(lambda version: encoder_of(world.store.manifest(version).encoder))
        self.vector = cache(lambda version, text: self.encoder(version).encode([text])[0])
        self.deleted: dict[str, float] = {}
        self.spaces: set[tuple[str, str]] = set()
        self.answers = 0
        self.over = asyncio.Event()

    async def similar(self, n: int) -> None:
        query = f"kitchen-{n % 12}"
        asked = RecQuery(k=20, scenario="similar", like_item=query, explain=True)
        self.check_scores(await self.world.gateway.recommend(asked), self.texts[query])

    async def search(self, n: int) -> None:
        asked = RecQuery(k=20, scenario="search", explain=True, user_id="reader")
        self.check_scores(await self.world.gateway.search(f"wave oak {n % 5}", asked), f"wave oak {n % 5}")

    async def everything(self, _n: int) -> None:
        asked = time.monotonic()
        slate = await self.world.gateway.recommend(RecQuery(k=100, user_id="reader", include_seen=True))
        self.check(slate)
        assert not [r.item_id for r in slate.items if self.deleted.get(r.item_id, np.inf) < asked]

    def check(self, slate: Slate) -> None:
        assert slate.degraded == ()
        assert len(slate.items) >= 20
        self.spaces.add((slate.index_version, self.encoder(slate.index_version).fingerprint))
        self.answers += 1

    def check_scores(self, slate: Slate, text: str) -> None:
        self.check(slate)
        vectors = [self.vector(slate.index_version, self.texts[r.item_id]) for r in slate.items]
        cosines = np.stack(vectors) @ self.vector(slate.index_version, text)
        np.testing.assert_allclose([r.signals["query"] for r in slate.items], cosines, atol=1e-3)

    async def read(self, ask: Callable[[int], Awaitable[None]]) -> None:
        for n in itertools.count():
            if self.over.is_set():
                return
            await ask(n)
            await asyncio.sleep(0.15)  # the builds need the core, too

    async def write(self) -> None:
        for n in itertools.count():
            if self.over.is_set():
                return
            name = f"w{n}"
            self.texts[name] = f"wave number {n}"
            await self.world.gateway.items.upsert([Item(name, self.texts[name])], wait_visible=True)
            await self.world.gateway.record([event("reader", name)])
            if n % 2:
                assert (await self.world.gateway.items.delete(name, wait_visible=True)).visible
                self.deleted[name] = time.monotonic()
            await asyncio.sleep(0.1)

    async def swap(self) -> None:
        for n in range(10):
            version = self.world.store.rollback().version if n in (3, 7) else await self.build((OTHER, PLAIN)[n % 2])
            assert await eventually(lambda v=version: self.world.follower.serve.version == v, 60)
            before = self.answers
            assert await eventually(lambda before=before: self.answers > before + 12, 60)
        self.over.set()

    async def build(self, spec: EncoderSpec) -> str:
        store, encoder = self.world.store, encoder_of(spec)
        platform = Platform(shards=2, encoder=spec, attributes=ATTRIBUTES)
        with store.drafts.alone():
            content = await live_content(store, self.world.redis, platform, encoder.fingerprint, lambda *_: None)
            build = Build(platform, store, encoder, 1, ShardTuning())
            version = (await asyncio.to_thread(build.publish, content)).version
        store.promote(version)
        return version


async def test_ten_swaps(make_world, monkeypatch):
    """No call fails, every score is the cosine in the space of the answer's own version, whatever was deleted before
    a request was sent is not in its answer, and what was written is there at the end.
    """

    async def encode(self, version, texts):
        return encoder_of(self.store.manifest(version).encoder).encode(texts)

    monkeypatch.setattr(World, "encode", encode)
    world: World = await make_world(items=catalogue(12), replicas=2)
    traffic = Traffic(world)
    async with asyncio.timeout(200), asyncio.TaskGroup() as group:
        for work in (traffic.swap(), traffic.write(), *map(traffic.read, (traffic.similar, traffic.search) * 2)):
            group.create_task(work)
        for _ in range(2):
            group.create_task(traffic.read(traffic.everything))
    assert len({fingerprint for _, fingerprint in traffic.spaces}) == 2
    assert len(traffic.spaces) >= 7
    left = await world.gateway.recommend(RecQuery(k=1000, user_id="nobody"))
    assert {r.item_id for r in left.items} == traffic.texts.keys() - traffic.deleted.keys()
