"""A shard's replica: snapshot plus log, versions side by side."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.serving import held_version
from recsys.serving.held_version import HeldVersion
from recsys.serving.shard_replica import ShardReplica
from recsys.shard.probes import nearest_query
from recsys.state.item_log import Delete, ItemLog
from recsys.state.membership import ShardMember
from recsys.state.presence import everyone
from recsys.transport import wire
from tests.support.replicas import contents, one_shard, upsert
from tests.support.world import ATTRIBUTES, TOPICS, World, catalogue, event, eventually

OTHER = Platform(shards=1, encoder=EncoderSpec(kind="hashing", dimension=24), attributes=ATTRIBUTES)


WORDS = [f"word{n}" for n in range(60)]


async def test_a_replica_catches_up_and_follows(make_world):
    """What stood in the log before it started is there when it has started; what comes later follows."""
    world: World = await one_shard(make_world)
    log = ItemLog(world.redis)
    many = [upsert(Item(f"n{n}", f"text {n}")) for n in range(300)]  # more than one reading of the log
    await log.append([*many, (0, Delete("sea-0")), upsert(Item("n5", "again")), (0, Delete("n6"))])
    late = await world.add_replica(0)
    version = world.store.current()
    held = contents(late, version)
    assert len(held) == 16 + 300 - 2
    assert held["n5"][0].title == "again"
    assert not {"sea-0", "n6"} & held.keys()
    await log.append([upsert(Item("sea-0", "back")), (0, Delete("n7"))])

    def followed() -> bool:
        got = contents(late, version)
        return "sea-0" in got and "n7" not in got

    assert await eventually(followed)


async def test_a_replica_that_joins_later_holds_the_same_items(make_world):
    """After any writes two replicas of different age are equal, item by item and vector by vector."""
    world: World = await one_shard(make_world)
    log, rng = ItemLog(world.redis), np.random.default_rng(3)
    version = world.store.current()
    for step in range(15):
        ids = [f"sea-{rng.integers(6)}" if rng.random() < 0.5 else f"new {rng.integers(9)}" for _ in range(7)]
        await log.append([upsert(Item(i, f"step {step}")) if rng.random() < 0.6 else (0, Delete(i)) for i in ids])
        if step in (4, 9, 14):
            await world.add_replica(0)
    last = await log.end(0)
    replicas = world.clients[0].replicas
    assert len(replicas) == 4
    assert await eventually(lambda: all(r.versions[version].shard.cursor == last for r in replicas))
    first = contents(replicas[0], version)
    assert await eventually(lambda: not any(r.versions[version].shard.fresh.waiting for r in replicas))
    for other in replicas[1:]:
        assert contents(other, version) == first
        assert len(other.versions[version].shard.index) == len(replicas[0].versions[version].shard.index)


@pytest.mark.parametrize("engine", ["hnsw", "hnsw_int8", "flat"])
@pytest.mark.parametrize("snapshot", [4, 0])
async def test_a_late_replica_answers_exactly_as_its_sisters(make_world, monkeypatch, engine, snapshot):
    """After 300 upserts, three in ten of one text, and 60 deletes, read by seven, as they came and all at once: to
    the bit the same, once all of them are linked.
    """
    world: World = await one_shard(make_world, index=IndexSpec.of(engine), items=catalogue(snapshot))
    (first,) = world.clients[0].replicas
    log, rng, version = ItemLog(world.redis), np.random.default_rng(11), world.store.current()
    read = ItemLog.read

    async def by_seven(self: ItemLog, *place: Any, **options: Any) -> Any:
        return await read(self, *place, **(options | {"limit": 7}))

    monkeypatch.setattr(ItemLog, "read", by_seven)
    texts = [" ".join(rng.choice(WORDS, 4)) if rng.random() < 0.7 else "untitled" for _ in range(300)]
    changes: list[Any] = [upsert(Item(f"n{rng.integers(210)}", text)) for text in texts]
    for at in sorted(rng.integers(90, 360, 60).tolist()):
        changes.insert(at, (0, Delete(f"n{rng.integers(210)}")))
    for start in range(0, len(changes), 37):
        await log.append(changes[start : start + 37])
    last = await log.end(0)
    assert await eventually(lambda: first.versions[version].shard.cursor == last)
    assert await eventually(lambda: not first.versions[version].shard.fresh.waiting)
    monkeypatch.setattr(ItemLog, "read", read)
    others = [await world.add_replica(0), await world.add_replica(0)]
    encoder = HashingEncoder(world.platform.encoder)
    queries = encoder.encode([" ".join(rng.choice(WORDS, 3)) for _ in range(200)])
    asked = nearest_query(version, queries, 10)
    answers = [await r.search(replace(asked, sketches=True)) for r in (first, *others)]
    assert len(answers[0].keys) >= 2000
    assert [wire.encode(a) for a in answers[1:]] == [wire.encode(answers[0])] * 2


async def test_a_replica_is_heard_of_while_it_loads(make_world, monkeypatch):
    """Loading takes longer than silence is borne: the replica stays listed, so nobody switches without it."""
    world: World = await one_shard(make_world)
    loading, go = asyncio.Event(), asyncio.Event()

    opened = HeldVersion.open

    async def slow(version: str, source: Any) -> HeldVersion:
        loading.set()
        await go.wait()
        return await opened(version, source)

    monkeypatch.setattr(HeldVersion, "open", slow)
    world.store.promote(world.publish().version)
    async with asyncio.timeout(60):
        await loading.wait()

    async def last_word() -> float:
        return float(await world.redis.zscore("recsys:heard:shard", "r0"))

    before = await last_word()

    async def spoke() -> bool:
        return await last_word() > before

    assert await eventually(spoke)
    assert world.follower.serve.version != world.store.current()
    go.set()


async def test_entries_of_another_encoder_are_encoded_again(make_world):
    """A version of another dimension makes its own vectors of the log's texts; while no encoder answers it waits."""
    world: World = await one_shard(make_world)
    (replica,) = world.clients[0].replicas
    log = ItemLog(world.redis)
    await log.append([upsert(Item("wave", "sea", TOPICS["sea"])), upsert(Item("w2", "x y"))])
    new = world.publish(platform=OTHER).version
    world.store.promote(new)
    assert await eventually(lambda: new in replica.versions)
    encoder = HashingEncoder(OTHER.encoder)
    held = contents(replica, new)
    for name, text in (("wave", f"sea. {TOPICS['sea']}"), ("w2", "x y")):
        np.testing.assert_allclose(held[name][1], encoder.encode([text])[0], atol=1e-4)
    world.encoder_down = True
    await log.append([upsert(Item("w3", "z")), upsert(Item("w4", "z"), OTHER.encoder)])
    await asyncio.sleep(0.3)
    assert replica.healthy()
    assert "w4" not in contents(replica, new)
    world.encoder_down = False
    assert await eventually(lambda: {"w3", "w4"} <= contents(replica, new).keys())


async def test_replicas_take_the_vectors_that_one_of_them_made(make_world, monkeypatch):
    """An encoder whose last bits change from call to call: all replicas hold the same."""
    calls = itertools.count(1)
    encode = World.encode

    async def unsteady(self, version, texts):
        return await encode(self, version, texts) + np.float32(1e-3) * next(calls)

    monkeypatch.setattr(World, "encode", unsteady)
    world: World = await one_shard(make_world, replicas=2)
    await ItemLog(world.redis).append([upsert(Item(f"w{n}", f"text {n}")) for n in range(20)])
    new = world.publish(platform=OTHER).version
    world.store.promote(new)
    replicas = world.clients[0].replicas
    assert await eventually(lambda: all(new in r.versions for r in replicas))
    first, second, late = (contents(r, new) for r in (*replicas, await world.add_replica(0)))
    assert "w19" in first
    assert first == second == late


async def test_popularity_reaches_the_shard(make_world):
    """Likes that Redis counts arrive at the next look, and a new replica has them from the start."""
    world: World = await one_shard(make_world)
    await world.gateway.record([event(user, "sea-1") for user in ("u", "v", "w")])
    version = world.store.current()

    def likes(replica: ShardReplica) -> float:
        shard = replica.versions[version].shard
        return float(shard.items.counts.view[shard.items.row("sea-1")])

    assert await eventually(lambda: likes(world.clients[0].replicas[0]) == 3.0)
    assert likes(await world.add_replica(0)) == 3.0


async def test_a_light_search_waits_for_no_thread_while_the_log_is_applied(make_world):
    """Fresh rows are no reason for one, linking them is: the index is held meanwhile."""
    world: World = await one_shard(make_world)
    (replica,) = world.clients[0].replicas
    shard = replica.versions[world.store.current()].shard
    query = nearest_query(shard.version, shard.items.vectors(shard.items.live_rows()[:1]), 5)
    async with shard.changing:
        assert replica.search_at_once(query) is not None
    begun, go_on, add = threading.Event(), threading.Event(), shard.index.add

    def slowly(*row: Any) -> None:
        begun.set()
        go_on.wait(60)
        add(*row)

    shard.index.add = slowly
    await ItemLog(world.redis).append([upsert(Item("new", "a new text"))])
    assert await eventually(begun.is_set)
    assert replica.search_at_once(query) is None
    go_on.set()
    assert await eventually(lambda: replica.search_at_once(query) is not None)
    assert len(shard.index) == shard.items.live


async def test_a_stopped_replica_is_gone_at_once(make_world):
    """It leaves the list of members, and all its tasks have ended; without Redis it stops as well."""
    world: World = await one_shard(make_world)
    replica = await world.add_replica(0)
    world.clients[0].replicas.remove(replica)
    assert len([m for m in await everyone(world.redis) if isinstance(m, ShardMember)]) == 2
    await replica.stop()
    assert len([m for m in await everyone(world.redis) if isinstance(m, ShardMember)]) == 1
    assert not replica.healthy()


async def test_stopping_without_redis(own_redis, own_valkey, tmp_path):
    """A server that is gone does not keep a replica or a composer from ending."""
    world = World(tmp_path / "versions", own_redis, shards=1, items=catalogue(1))
    await world.__aenter__()
    own_valkey.stop()
    await world.__aexit__(None, None, None)
    assert not world.follower.healthy()


async def test_a_replica_says_that_it_is_there_once_it_has_caught_up_and_searched(make_world, monkeypatch):
    """Composers pick only who has said so: no request waits for a replica's first search."""
    world: World = await one_shard(make_world)
    await ItemLog(world.redis).append([upsert(Item("n1", "new"))])
    searched, go_on, real = threading.Event(), threading.Event(), held_version.search
    cursors = []

    def first_search(shard: Any, query: Any) -> Any:
        cursors.append(shard.cursor)
        searched.set()
        assert go_on.wait(60)
        return real(shard, query)

    monkeypatch.setattr(held_version, "search", first_search)
    starting = asyncio.create_task(world.add_replica(0))
    assert await asyncio.to_thread(searched.wait, 60)
    assert [m.id for m in await everyone(world.redis) if isinstance(m, ShardMember)] == ["r0"]
    assert cursors == [await ItemLog(world.redis).end(0)]
    go_on.set()
    late = await starting
    assert {m.id for m in await everyone(world.redis) if isinstance(m, ShardMember)} == {"r0", "r1"}
    assert late.healthy()
