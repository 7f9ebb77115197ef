"""Which shard owns what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recsys.config import RoutingSpec
from recsys.datatypes import Condition, Filter, Item
from recsys.routing import Router, shard_of

BY_HASH = RoutingSpec()
BY_LANGUAGE = RoutingSpec(by="attribute", attribute="language")


def test_owners_are_pinned():
    """Items are stored by their owner: an owner may never change between releases."""
    assert (shard_of("a", 7), shard_of("ü/ 1", 7)) == (6, 6)
    assert {shard_of(f"item-{i}", 4) for i in range(50)} == {0, 1, 2, 3}


@given(
    st.text(max_size=10), st.text(max_size=5) | st.none(), st.integers(1, 20), st.sampled_from([BY_HASH, BY_LANGUAGE])
)
def test_the_owner_is_among_the_holders(item_id, language, shards, spec):
    """Who knows only the id asks shards of which one is the owner; and it is a shard that exists."""
    router = Router(spec, shards)
    owner = router.owner(Item(item_id, attributes={} if language is None else {"language": language}))
    assert owner in router.holders(item_id)
    assert 0 <= owner < shards


@given(st.lists(st.text(max_size=3), min_size=1, max_size=4), st.integers(1, 20))
def test_a_filter_on_the_routing_attribute_reaches_every_match(languages, shards):
    """The owners of items of these languages are asked, and no other shard."""
    router = Router(BY_LANGUAGE, shards)
    given_filter = Filter(must=(Condition("year", "exists"), Condition("language", "any", tuple(languages))))
    owners = {router.owner(Item("x", attributes={"language": language})) for language in languages}
    assert router.matching(given_filter) == owners


def test_filters_that_pin_nothing_ask_all():
    """Routed by hash, or with the attribute in should, must_not, exists: any shard may hold a match."""
    pinned = Condition("language", "any", ("de",))
    assert Router(BY_HASH, 5).matching(Filter(must=(pinned,))) == set(range(5))
    router = Router(BY_LANGUAGE, 5)
    for given_filter in (
        None,
        Filter(should=(pinned,)),
        Filter(must_not=(pinned,)),
        Filter(must=(Condition("language", "exists"),)),
        Filter(must=(Condition("year", "any", (1.0,)),)),
    ):
        assert router.matching(given_filter) == set(range(5))


def test_items_without_the_attribute_live_together():
    """Whatever their ids."""
    router = Router(BY_LANGUAGE, 16)
    assert len({router.owner(Item(f"i{i}")) for i in range(50)}) == 1
