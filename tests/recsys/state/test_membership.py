"""What replicas say of themselves, and what follows of it."""

from __future__ import annotations

from msgspec import structs

from recsys.config.platform import RoutingSpec
from recsys.routing import FIRST, Layout, Router
from recsys.state.item_log import LogId
from recsys.state.membership import (
    WIRE,
    ComposerMember,
    ShardMember,
    VersionState,
    applied,
    by_shard,
    covered,
    decoder,
    encode,
    furthest,
    in_use,
    ready,
)


def shards(number: int, layout: str = FIRST) -> Layout:
    return Layout(layout, Router(RoutingSpec(), number))


def replica(shard: int, name: str, **cursors: str) -> ShardMember:
    return ShardMember(name, shard, wire=WIRE, versions={v: VersionState(cursor) for v, cursor in cursors.items()})


def test_a_version_is_ready_when_every_replica_holds_it():
    """One replica without it, or a shard without a replica, and it is not."""
    members = [replica(0, "a", v1="1-0", v2="1-0"), replica(0, "b", v1="1-0"), replica(1, "c", v1="1-0", v2="1-0")]
    group = by_shard(members)
    assert ready(group, "v1", shards(2), {})
    assert not ready(group, "v2", shards(2), {})
    assert ready(by_shard([members[0], members[2]]), "v2", shards(2), {})
    assert not ready(group, "v1", shards(3), {})
    assert not ready({}, "v1", shards(1), {})


def test_a_shard_is_covered_by_one_replica_that_holds_the_version():
    """Whatever its other replicas hold; shards without a replica are not."""
    group = by_shard([replica(0, "a", v1="1-0"), replica(0, "b", v2="1-0"), replica(1, "c", v1="1-0")])
    assert [covered(group, version, 3) for version in ("v1", "v2", "v3")] == [2, 1, 0]


def test_a_composer_waits_for_shards_that_talk_as_it_does():
    """Replicas with another format of messages make no shard ready or covered; those beside them do."""
    other = structs.replace(replica(0, "a", v1="1-0"), wire=WIRE + 1)
    own = replica(0, "b", v1="1-0")
    for group, there in ((by_shard([other]), 0), (by_shard([other, own]), 1)):
        assert ready(group, "v1", shards(1), {}) == bool(there)
        assert covered(group, "v1", 1) == there


def test_a_record_without_a_format_is_of_the_first():
    """So releases that did not announce one are understood, and their readers skip the number of a later one."""
    first = ShardMember("a", 0)
    assert b"wire" not in encode(first)
    assert decoder(ShardMember).decode(encode(first)).wire == 1
    assert decoder(ShardMember).decode(encode(structs.replace(first, wire=9))).wire == 9


def test_a_version_whose_log_stands_still_is_not_ready():
    """Each replica must have applied in it what any had applied in another version a moment ago."""
    members = [replica(0, "a", v1="9-0", v2="9-0"), replica(0, "b", v1="10-1", v2="8-0"), replica(1, "c", v2="1-0")]
    group = by_shard(members)
    reached = furthest(group)
    assert reached == {(FIRST, 0): "10-1", (FIRST, 1): "1-0"}
    assert not ready(group, "v2", shards(2), reached)
    caught_up = by_shard([replica(0, "a", v1="12-0", v2="10-1"), replica(0, "b", v1="12-0", v2="11-0"), members[2]])
    assert ready(caught_up, "v2", shards(2), reached)
    assert not ready(caught_up, "v2", shards(2), reached | {LogId(FIRST, 1): "1-1"})


def test_an_entry_is_applied_when_every_replica_has_it():
    """Of this shard, in every version that they hold; one that holds none yet is not asked."""
    members = [
        replica(0, "a", v1="9-0"),
        replica(0, "b", v1="10-1"),
        replica(0, "c"),
        replica(1, "d", v1="0-0"),
    ]
    group = by_shard(members)
    assert applied(group, LogId(FIRST, 0), "9-0", FIRST)
    assert not applied(group, LogId(FIRST, 0), "10-0", FIRST)
    assert not applied(group, LogId(FIRST, 1), "1-0", FIRST)
    assert not applied(group, LogId(FIRST, 2), "0-0", FIRST)
    behind = replica(0, "e", v1="11-0", v2="8-0")
    assert not applied(by_shard([*members, behind]), LogId(FIRST, 0), "9-0", FIRST)


def test_logs_of_another_layout_are_waited_for_once_somebody_reads_them():
    """The same shard follows a log in each layout, and a cursor in the one says nothing of the other."""
    new = LogId("new", 0)
    old = replica(0, "a", v1="9-0")
    assert applied(by_shard([old]), new, "1-0", FIRST)
    assert not applied(by_shard([old]), new, "1-0", "new")
    both = ShardMember("a", 0, wire=WIRE, versions={**old.versions, "v2": VersionState("1-0", layout="new")})
    assert applied(by_shard([both]), new, "1-0", FIRST)
    assert not applied(by_shard([both]), new, "2-0", FIRST)
    assert furthest(by_shard([both])) == {(FIRST, 0): "9-0", new: "1-0"}
    assert ready(by_shard([both]), "v2", shards(1, "new"), {LogId(FIRST, 0): "9-0", new: "1-0"})
    assert not ready(by_shard([both]), "v2", shards(1, "new"), {new: "1-1"})


def test_a_version_is_in_use_where_a_shard_holds_or_a_composer_serves_it():
    """One that a composer only asks for is not."""
    members = [replica(0, "a", v1="1-0", v2="1-0"), ComposerMember("x", serving="v3", asks="v4"), ComposerMember("y")]
    assert in_use(members) == {"v1", "v2", "v3"}
