"""Words in Redis: who is there, by Redis' own clock, read by what has changed."""

from __future__ import annotations

import asyncio
import itertools
import time

import msgspec
import pytest
from msgspec import structs
from redis.exceptions import RedisError

from recsys.state import register
from recsys.state.membership import WIRE, ComposerMember, Drift, ShardMember, VersionState, decoder, encode
from recsys.state.presence import GONE_S, Presence, everyone, secret
from recsys.state.register import STALE_S, Register
from tests.support.world import eventually

HEARD = "recsys:heard:shard"


def shard(redis, name: str, number: int = 0, **cursors: str) -> Presence[ShardMember]:
    return Presence(redis, ShardMember(name, number, wire=WIRE, versions=states(**cursors)), (ComposerMember,))


def states(**cursors: str) -> dict[str, VersionState]:
    return {version: VersionState(cursor) for version, cursor in cursors.items()}


def composer(redis, name: str = "c", serving: str | None = None) -> Presence[ComposerMember]:
    return Presence(redis, ComposerMember(name, serving), (ShardMember, ComposerMember))


def names(presence: Presence, kind: type = ShardMember) -> set[str]:
    return {m.id for m in presence.members(kind)}


def with_items(number: int):
    """The change of a record that says how many items its version has."""
    return lambda member: structs.replace(member, versions={"v1": VersionState("1-0", number)})


def test_a_record_is_read_as_it_was_written():
    """Of each role; a record of the other role, or with a value of another kind, is refused."""
    drift = Drift(log_share=0.1, dead_share=0.2, recall_at_10=0.97)
    state = VersionState("1-0", items=5, drift=drift)
    members = (
        ShardMember("s", 3, address="127.0.0.1:80", versions={"v": state}, rejected={"w": "checksum"}),
        ComposerMember("c", serving="v", asks="w", rejected={"x": "ranker"}),
        ShardMember("new", 0),
        ComposerMember("new"),
    )
    for member in members:
        assert decoder(type(member)).decode(encode(member)) == member
    for record in (b'{"id": "c", "serving": "v"}', b'{"id": "s", "shard": "three"}', b"damaged"):
        with pytest.raises(msgspec.DecodeError):
            decoder(ShardMember).decode(record)


@pytest.fixture
def later(monkeypatch):
    """Moves the clock of the loop on by this many seconds."""

    def move(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        plain = loop.time
        monkeypatch.setattr(loop, "time", lambda: plain() + seconds)

    return move


async def reads(redis) -> int:
    """How many records of replicas Redis has read by now."""
    return int((await redis.info("commandstats")).get("cmdstat_hget", {"calls": 0})["calls"])


async def silence(redis, name: str, seconds: float) -> None:
    """Make a replica's last word older."""
    await redis.zincrby(HEARD, -1000 * seconds, name)


async def test_members_come_change_and_go(redis):
    """Each is listed with its last word until it leaves; a shard and a composer may share a name."""
    one, reader = shard(redis, "n", v1="1-0"), composer(redis, "n", "v1")
    for speaker in (one, reader, shard(redis, "other", 1)):
        await speaker.say()
    await reader.look()
    assert {(m.id, m.shard) for m in reader.members(ShardMember)} == {("n", 0), ("other", 1)}
    assert [(m.id, m.serving) for m in reader.members(ComposerMember)] == [("n", "v1")]
    assert {number: [m.id for m in group] for number, group in reader.group.items()} == {0: ["n"], 1: ["other"]}
    await one.say(with_items(5))
    await reader.look()
    assert reader.group[0][0].versions["v1"].items == 5
    await one.leave()
    await reader.look()
    assert names(reader) == {"other"}
    assert {(m.role, m.id) for m in await everyone(redis)} == {("shard", "other"), ("composer", "n")}


async def test_a_look_reads_what_has_changed(redis):
    """A word that was said again without a change is not sent, and the lists stay the same objects."""
    reader, speakers = composer(redis), [shard(redis, f"s{n}", n, v1="1-0") for n in range(20)]
    for speaker in speakers:
        await speaker.say()
    await reader.look()
    members, group = reader.members(ShardMember), reader.group
    for speaker in speakers:
        await speaker.say()
    before = await reads(redis)
    await reader.look()
    assert await reads(redis) == before
    assert reader.members(ShardMember) is members
    assert reader.group is group
    await speakers[3].say(with_items(7))
    before = await reads(redis)
    await reader.look()
    assert await reads(redis) == before + 1
    assert reader.group[3][0].versions["v1"].items == 7


@pytest.mark.parametrize("skew_s", [-3600, 70, 6])
async def test_the_clocks_of_the_machines_do_not_matter(redis, monkeypatch, skew_s):
    """Speaker and reader are an hour apart: they hear of each other, and nobody is struck off."""
    await shard(redis, "here").say()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew_s)
    away, reader = shard(redis, "away", 1), composer(redis)
    await away.say()
    await reader.say()
    await reader.look()
    assert names(reader) == {"here", "away"}


async def test_the_silent_count_as_gone_and_are_struck_off_later(redis, later):
    """After STALE_S they are not listed; after GONE_S the next word of anyone removes them; by a word they are back."""
    quiet, reader = shard(redis, "quiet", v1="1-0"), composer(redis)
    await quiet.say()
    await reader.say()
    await shard(redis, "loud").say()
    await silence(redis, "quiet", STALE_S + 1)
    await reader.look()
    assert names(reader) == {"loud"}
    assert {m.id for m in await everyone(redis, silent_too=True)} == {"quiet", "loud", "c"}
    await silence(redis, "quiet", GONE_S)
    later(STALE_S + 1)  # Redis has taken this one's words for long
    await reader.say()
    assert await redis.hkeys("recsys:members:shard") == [b"loud"]
    await quiet.say()
    await reader.look()
    assert names(reader) == {"quiet", "loud"}


async def test_times_from_before_the_clock_of_redis_was_set_back_are_silence(redis):
    """A word from the future says nothing of now."""
    reader = composer(redis)
    await shard(redis, "ahead").say()
    await shard(redis, "here").say()
    await silence(redis, "ahead", -(STALE_S + 2))
    await reader.look()
    assert names(reader) == {"here"}


async def test_the_list_of_before_is_kept_when_nobody_is_heard(redis):
    """All silent at once is no sign that all are gone; one that speaks again is, for the others. Who never heard of
    anybody does not believe old words.
    """
    reader, late = composer(redis), composer(redis, "late")
    one, two = shard(redis, "one"), shard(redis, "two")
    await one.say()
    await two.say()
    await reader.look()
    for name in ("one", "two"):
        await silence(redis, name, STALE_S + 1)
    await reader.look()
    await late.look()
    assert names(reader) == {"one", "two"}
    assert names(late) == set()
    await one.say()
    await reader.look()
    await late.look()
    assert names(reader) == names(late) == {"one"}


async def test_a_redis_that_takes_no_words_costs_nobody_his_place(own_redis):
    """While a replica's own words fail it does not conclude anything from the silence of others; nor does one that
    starts in that time, and the secret of the channels is there for it.
    """
    speaker, reader = shard(own_redis, "s"), composer(own_redis)
    known = await secret(own_redis)
    await speaker.say()
    await reader.say()
    await reader.look()
    await silence(own_redis, "s", 3600)
    await own_redis.config_set("maxmemory", 1)
    late = composer(own_redis, "late")
    for presence in (reader, late):
        with pytest.raises(RedisError):
            await presence.say()
        await presence.look()
        assert names(presence) == {"s"}
        assert names(presence, ComposerMember) == {"c"}
    assert await secret(own_redis) == known
    await own_redis.config_set("maxmemory", 0)
    await reader.say()  # an hour of silence is now told of everyone, and nobody is struck off for it
    assert await own_redis.hkeys("recsys:members:shard") == [b"s"]
    await speaker.say()
    await reader.look()
    assert names(reader) == {"s"}


async def test_a_redis_that_lost_words_takes_nobody_away(redis, later):
    """Emptied: the list of before counts until everyone has had the time to speak again, and not longer."""
    reader, one, two = composer(redis), shard(redis, "one", v1="1-0"), shard(redis, "two", v1="1-0")
    for _ in range(3):
        await one.say(with_items(next(numbers)))
    await reader.say()
    await reader.look()
    await redis.flushall()
    await two.say()
    await reader.say()
    await reader.look()
    assert names(reader) == {"one", "two"}
    assert {m.id for m in reader.records(ComposerMember)} == {"c"}
    later(STALE_S + 1)
    await reader.look()
    assert names(reader) == {"two"}


async def test_all_words_are_read_again_now_and_then(redis, later):
    """What a failover to a server that lagged behind changed without a number is seen then."""
    reader, one = composer(redis), shard(redis, "one")
    await one.say()
    await reader.look()
    await redis.hset("recsys:members:shard", "one", encode(ShardMember("one", 7)))
    await reader.look()
    assert reader.members(ShardMember)[0].shard == 0
    later(31)
    await reader.look()
    assert reader.members(ShardMember)[0].shard == 7


numbers = itertools.count(1)


async def test_the_word_of_another_release_is_passed_over(redis):
    """It cannot be read, and costs nobody anything."""
    reader = composer(redis)
    await shard(redis, "n").say()
    await redis.hset("recsys:members:shard", "old", '{"role": "shard", "id": "old", "items": "many"}')
    await redis.zadd("recsys:changed:shard", {"old": 7, "": 7})
    await reader.look()
    assert names(reader) == {"n"}


async def test_many_speak_and_leave_at_once(redis, monkeypatch):
    """Every reader ends with the same list, whatever it missed on the way."""
    monkeypatch.setattr(register, "STALE_S", 3600.0)
    readers = [composer(redis, f"c{n}") for n in range(3)]
    speakers = [shard(redis, f"s{n}", n) for n in range(60)]

    async def live(n: int) -> None:
        for _ in range(5):
            await speakers[n].say(with_items(next(numbers)))
            await readers[n % 3].look()
        if n % 2:
            await speakers[n].leave()

    await asyncio.gather(*map(live, range(60)))

    async def agree() -> bool:
        for reader in readers:
            await reader.look()
        return all(names(reader) == {f"s{n}" for n in range(0, 60, 2)} for reader in readers)

    assert await eventually(agree)
    fresh = Register(redis, ShardMember)
    await fresh.look()
    assert {m.id: m for m in fresh.heard} == {m.id: m for m in readers[0].members(ShardMember)}


async def test_the_secret_is_one(redis):
    """Whoever asks first makes it; all get the same."""
    assert len({await secret(redis) for _ in range(3)}) == 1
    assert len(await secret(redis)) == 32
