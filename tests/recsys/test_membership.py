"""Who is there, and how far they are."""

from __future__ import annotations

import time

from recsys import keys
from recsys.membership import STALE_S, Member, Members, applied, furthest, ready


def replica(shard: int, name: str, **versions: str) -> Member:
    return Member(role="shard", id=name, shard=shard, versions=versions)


def test_a_version_is_ready_when_every_replica_holds_it():
    """One replica without it, or a shard without a replica, and it is not; composers do not count."""
    members = [replica(0, "a", v1="1-0", v2="1-0"), replica(0, "b", v1="1-0"), replica(1, "c", v1="1-0", v2="1-0")]
    composer = Member(role="composer", id="x", serving="v1")
    assert ready([*members, composer], "v1", 2, {})
    assert not ready(members, "v2", 2, {})
    assert ready([members[0], members[2]], "v2", 2, {})
    assert not ready(members, "v1", 3, {})
    assert not ready([], "v1", 1, {})


def test_a_version_whose_log_stands_still_is_not_ready():
    """Each replica must have applied in it what any had applied in another version a moment ago."""
    members = [replica(0, "a", v1="9-0", v2="9-0"), replica(0, "b", v1="10-1", v2="8-0"), replica(1, "c", v2="1-0")]
    reached = furthest(members)
    assert reached == {0: "10-1", 1: "1-0"}
    assert not ready(members, "v2", 2, reached)
    caught_up = [replica(0, "a", v1="12-0", v2="10-1"), replica(0, "b", v1="12-0", v2="11-0"), members[2]]
    assert ready(caught_up, "v2", 2, reached)
    assert not ready(caught_up, "v2", 2, reached | {1: "1-1"})


def test_an_entry_is_applied_when_every_replica_has_it():
    """Of this shard, in every version that they hold; one that holds none yet is not asked."""
    members = [
        replica(0, "a", v1="9-0"),
        replica(0, "b", v1="10-1"),
        replica(0, "c"),
        replica(1, "d", v1="0-0"),
    ]
    assert applied(members, 0, "9-0")
    assert not applied(members, 0, "10-0")
    assert not applied(members, 1, "1-0")
    assert not applied(members, 2, "0-0")
    assert not applied([*members, replica(0, "e", v1="11-0", v2="8-0")], 0, "9-0")


async def test_members_come_and_go(redis):
    """Each is listed with its last word until it leaves; a shard and a composer may share a name."""
    members = Members(redis)
    one, two = replica(0, "n", v1="1-0"), Member(role="composer", id="n", serving="v1")
    for member in (one, two, one.model_copy(update={"items": {"v1": 5}})):
        await members.say(member)
    assert {(m.role, m.id, m.items.get("v1", 0), m.serving) for m in await members.all()} == {
        ("shard", "n", 5, None),
        ("composer", "n", 0, "v1"),
    }
    await members.leave(one)
    assert [m.role for m in await members.all()] == ["composer"]


async def test_the_silent_count_as_gone(redis):
    """After STALE_S they are not listed, much later their entry is struck off; one word and they are back."""
    members, silent = Members(redis), replica(0, "n")
    for seconds, kept in ((STALE_S + 1, True), (100 * STALE_S, False)):
        old = silent.model_copy(update={"seen": time.time() - seconds})
        await redis.hset(keys.MEMBERS, "shard:n", old.model_dump_json())
        assert await members.all() == []
        assert await redis.hexists(keys.MEMBERS, "shard:n") == kept
    await members.say(silent)
    assert len(await members.all()) == 1


async def test_the_secret_is_one(redis):
    """Whoever asks first makes it; all get the same."""
    assert len({await Members(redis).secret() for _ in range(3)}) == 1
    assert len(await Members(redis).secret()) == 32


async def test_what_another_release_said_is_struck_off(redis):
    """A word that cannot be read costs nobody anything: it is passed over, and removed."""
    members = Members(redis)
    await members.say(replica(0, "n", v1="1-0"))
    await redis.hset("recsys:members", "shard:old", '{"role": "shard", "id": "old", "items": "many"}')
    assert [m.id for m in await members.all()] == ["n"]
    assert await redis.hkeys("recsys:members") == [b"shard:n"]
