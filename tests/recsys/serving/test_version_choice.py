"""Which version a composer prefers, and which one it asks for."""

from __future__ import annotations

from collections.abc import Callable

from recsys.serving.version_choice import better, most_covered, to_ask_for

PROMOTED = ["v3", "v2", "v1"]


def whole(*held: set[str]) -> Callable[[str], bool]:
    """Whether each of these shards holds the version."""
    return lambda version: bool(held) and all(version in versions for versions in held)


def test_newer_versions_are_better_than_the_served_one():
    """While every shard holds the served one; after a rollback the first of the promoted ones is."""
    assert better(PROMOTED, "v2", whole({"v2"}, {"v2"})) == ["v3"]
    assert better(PROMOTED, "v3", whole({"v3"}, {"v3"})) == []
    assert better(["v2", "v1"], "v3", whole({"v3"}, {"v3"})) == ["v2"]


def test_any_version_is_better_than_one_that_a_shard_has_lost():
    """The others in their order; all of them where none is served yet."""
    assert better(PROMOTED, "v2", whole({"v2"}, {"v1"})) == ["v3", "v1"]
    assert better(PROMOTED, None, whole()) == PROMOTED


def test_shards_are_asked_for_the_newest_version_that_nobody_rejects():
    """Only while a shard lacks the served one."""
    assert to_ask_for(PROMOTED, "v2", set(), whole({"v2"}, {"v2"})) is None
    assert to_ask_for(PROMOTED, "v2", {"v3"}, whole({"v2"}, set())) == "v2"
    assert to_ask_for(PROMOTED, None, {"v3", "v2"}, whole()) == "v1"
    assert to_ask_for(PROMOTED, None, set(PROMOTED), whole()) is None


def test_the_version_that_most_shards_hold_comes_first():
    """Of equals the newest."""
    assert most_covered(PROMOTED, {"v1": 1.0, "v2": 0.5, "v3": 0.0}.__getitem__) == ["v1", "v2", "v3"]
    assert most_covered(PROMOTED, lambda _: 0.0) == PROMOTED
