"""What belongs to a profile goes to a shard once and is left out of later questions: every answer stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from recsys.answers import Slate
from recsys.datatypes import RecQuery
from recsys.serving.channel_calls import ChannelCalls
from recsys.serving.shard_replica import ShardReplica
from recsys.shard.kept_arrays import LASTS_S, KeptArrays
from recsys.shard.told_profiles import MOST_BYTES
from recsys.state.membership import WIRE, ShardMember, VersionState
from recsys.transport import wire
from recsys.transport.channel_server import ChannelServer
from recsys.transport.direct_shard import DirectShard
from tests.support.channels import SECRET
from tests.support.clock import Clock
from tests.support.people import build, publish
from tests.support.world import TOPICS, LocalShard, event, eventually

NAMES = [*TOPICS]
USERS = [f"u{n}" for n in range(6)]


class Line:
    """A replica's end of a direct line."""

    def __init__(self, replica: ShardReplica) -> None:
        self._calls = ChannelCalls(replica)
        self.asked: list[int] = []
        """Bytes of each search."""
        self.untold = 0

    async def handle(self, method: int, payload: bytes) -> bytes:
        answer = self._calls.answer(method, payload)
        answer = answer if isinstance(answer, bytes) else await answer
        if method == wire.SEARCH:
            self.asked.append(len(payload))
            self.untold += answer == wire.UNTOLD
        return answer


class Client(DirectShard):
    """A shard over direct lines; `replicas` is where a world looks for them."""

    replicas: list[ShardReplica]


class Lines:
    """Of every replica of a world, whose composer asks over them from `use` on."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self._local: list[LocalShard] = world.clients
        self.lines: list[Line] = []
        self._servers: list[ChannelServer] = []
        self._members: dict[int, list[ShardMember]] = {}
        self._direct: list[Client] = []

    async def use(self) -> None:
        version = self.world.follower.serve.version
        for shard, local in enumerate(self._local):
            members = self._members[shard] = []
            for replica in local.replicas:
                self.lines.append(Line(replica))
                self._servers.append(await ChannelServer.start("127.0.0.1", self.lines[-1].handle, SECRET))
                members.append(
                    ShardMember(
                        f"r{len(self.lines)}", shard, wire=WIRE, versions={version: VersionState("0-0")},
                        address=self._servers[-1].address,
                    )
                )  # fmt: skip
            client = Client(shard, partial(self._members.__getitem__, shard), SECRET, local)
            client.replicas = local.replicas
            self._direct.append(client)
        self.world.clients = self._direct

    async def end(self) -> None:
        """No replica is there any more, so connections are closed."""
        self.world.clients = self._local
        for shard, direct in enumerate(self._direct):
            self._members[shard] = []
            await direct.items(self.world.follower.serve.version, [])
        for server in self._servers:
            server.stop()

    def forget(self) -> None:
        """As replicas that have just started."""
        version = self.world.follower.serve.version
        for local in self._local:
            for replica in local.replicas:
                replica.versions[version].shard.told = KeptArrays(MOST_BYTES)


@pytest.fixture(params=[1, 2], ids=["one replica", "two replicas"])
async def lines(make_world, lesson, request) -> AsyncIterator[Lines]:
    world = await make_world(replicas=request.param)
    version = publish(build(world.store), lesson.model).version
    world.store.promote(version)
    assert await eventually(lambda: world.follower.serve.version == version)
    for n, user in enumerate(USERS):
        await world.gateway.record([event(user, f"{NAMES[n % len(NAMES)]}-{i}") for i in range(2 + n)])
    await world.counted()
    lines = Lines(world)
    yield lines
    await lines.end()


async def answers(world: Any) -> list[list[tuple[str, float]]]:
    """Of all users in one batch: a first request is under way while the others wait for one another."""
    calls = [world.gateway.recommend(RecQuery(k=5, user_id=user, diversity=0.0)) for user in ("nobody", "none", *USERS)]
    slates: list[Slate] = await asyncio.gather(*calls)
    assert not any(slate.degraded for slate in slates)
    return [[(item.item_id, item.score) for item in slate.items] for slate in slates]


async def test_answers_are_the_same_to_the_bit_with_less_on_the_line(lines: Lines) -> None:
    """Told, named, named to replicas that know nothing, and told again."""
    world = lines.world
    expected = await answers(world)
    await lines.use()
    lines.forget()
    assert await answers(world) == expected
    whole = max(size for line in lines.lines for size in line.asked)
    for _ in range(6):
        assert await answers(world) == expected
    assert min(line.asked[-1] for line in lines.lines) < whole * 0.7
    before = sum(line.untold for line in lines.lines)
    lines.forget()
    for _ in range(4):
        assert await answers(world) == expected
    assert sum(line.untold for line in lines.lines) > before


async def test_an_event_is_in_the_very_next_answer(lines: Lines) -> None:
    world = lines.world
    await lines.use()
    for _ in range(3):
        before = await answers(world)
    await world.gateway.record([event(USERS[0], f"{NAMES[-1]}-{i}") for i in (3, 4)])
    await world.counted()
    assert (after := await answers(world)) != before
    await lines.end()
    assert await answers(world) == after


async def test_who_comes_much_later_is_told_again(clock: Clock, lines: Lines) -> None:
    """Before shards forget, which would cost another question."""
    world = lines.world
    await lines.use()
    for _ in range(5):
        expected = await answers(world)
    before = sum(line.untold for line in lines.lines)
    clock.forward(LASTS_S)
    assert await answers(world) == expected
    assert sum(line.untold for line in lines.lines) == before


async def test_what_is_passed_over_lasts_as_long_as_composers_count_on_it(clock: Clock, lines: Lines) -> None:
    """A request alone tells all each time, and a batch once in a while: a shard keeps not each of them anew."""
    world = lines.world
    await lines.use()

    async def alone() -> None:
        for user in USERS:
            await world.gateway.recommend(RecQuery(k=5, user_id=user, diversity=0.0))

    await alone()  # what is asked from here on is kept, and says nothing to batches
    clock.forward(LASTS_S)
    for _ in range(5):
        expected = await answers(world)
    before = sum(line.untold for line in lines.lines)
    for later, act in ((0.55, alone), (0.27, None), (0.78, None)):
        clock.forward(later * LASTS_S)
        for replica in (replica for local in world.clients for replica in local.replicas):
            for held in replica.versions.values():
                held.shard.told.expire()
        if act is None:
            assert await answers(world) == expected
        else:
            await act()
    if len(world.clients[0].replicas) == 1:  # of two, one may still have to hear of somebody
        assert sum(line.untold for line in lines.lines) == before
