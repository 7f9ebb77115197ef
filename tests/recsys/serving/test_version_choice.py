"""Which version a composer prefers, and which one it asks for."""

from __future__ import annotations

from recsys.serving.version_choice import better, most_covered, to_ask_for
from recsys.state.membership import Group, ShardMember, VersionState

PROMOTED = ["v3", "v2", "v1"]


def group(*held: set[str]) -> Group:
    """One replica of each shard, with the versions that it holds."""
    return {
        number: [ShardMember(f"r{number}", number, versions={v: VersionState("1-0") for v in versions})]
        for number, versions in enumerate(held)
    }


def test_newer_versions_are_better_than_the_served_one():
    """While every shard holds the served one; after a rollback the first of the promoted ones is."""
    every = group({"v2"}, {"v2"})
    assert better(PROMOTED, "v2", every, 2) == ["v3"]
    assert better(PROMOTED, "v3", group({"v3"}, {"v3"}), 2) == []
    assert better(["v2", "v1"], "v3", group({"v3"}, {"v3"}), 2) == ["v2"]


def test_any_version_is_better_than_one_that_a_shard_has_lost():
    """The others in their order; all of them where none is served yet."""
    assert better(PROMOTED, "v2", group({"v2"}, {"v1"}), 2) == ["v3", "v1"]
    assert better(PROMOTED, None, group(), 2) == PROMOTED


def test_shards_are_asked_for_the_newest_version_that_nobody_rejects():
    """Only while a shard lacks the served one."""
    assert to_ask_for(PROMOTED, "v2", set(), group({"v2"}, {"v2"}), 2) is None
    assert to_ask_for(PROMOTED, "v2", {"v3"}, group({"v2"}, set()), 2) == "v2"
    assert to_ask_for(PROMOTED, None, {"v3", "v2"}, group(), 2) == "v1"
    assert to_ask_for(PROMOTED, None, set(PROMOTED), group(), 2) is None


def test_the_version_that_most_shards_hold_comes_first():
    """Of equals the newest."""
    assert most_covered(PROMOTED, group({"v1", "v2"}, {"v1"}), 2) == ["v1", "v2", "v3"]
    assert most_covered(PROMOTED, group(), 2) == PROMOTED
