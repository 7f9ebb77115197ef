"""Which shard owns what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Condition, Filter, Item
from recsys.routing import FEEDS, Router, feed_of, placement, shard_of
from tests.support.any_text import any_text

BY_HASH = RoutingSpec()
BY_LANGUAGE = RoutingSpec(by="attribute", attribute="language")


def test_owners_are_pinned():
    """Items are stored by their owner: an owner may never change between releases."""
    assert (shard_of("a", 7), shard_of("ü/ 1", 7)) == (6, 6)
    assert {shard_of(f"item-{i}", 4) for i in range(50)} == {0, 1, 2, 3}


@given(
    any_text(max_size=10), any_text(max_size=5) | st.none(), st.integers(1, 20), st.sampled_from([BY_HASH, BY_LANGUAGE])
)
def test_the_owner_is_among_the_holders(item_id, language, shards, spec):
    """Who knows only the id asks shards of which one is the owner; and it is a shard that exists."""
    router = Router(spec, shards)
    owner = router.owner(Item(item_id, attributes={} if language is None else {"language": language}))
    assert owner in router.holders(item_id)
    assert 0 <= owner < shards


@given(st.lists(any_text(max_size=3), min_size=1, max_size=4), st.integers(1, 20))
def test_a_filter_on_the_routing_attribute_reaches_every_match(languages, shards):
    """The owners of items of these languages are asked, and no other shard."""
    router = Router(BY_LANGUAGE, shards)
    given_filter = Filter(must=(Condition("year", "exists"), Condition("language", "any", tuple(languages))))
    owners = {router.owner(Item("x", attributes={"language": language})) for language in languages}
    assert router.matching(given_filter) == owners


def test_filters_that_pin_nothing_ask_all():
    """Routed by hash, or with the attribute beside others in should, in must_not, exists: all shards are asked."""
    pinned = Condition("language", "any", ("de",))
    assert Router(BY_HASH, 5).matching(Filter(must=(pinned,))) == set(range(5))
    router = Router(BY_LANGUAGE, 5)
    for given_filter in (
        None,
        Filter(should=(pinned, Condition("year", "exists"))),
        Filter(must_not=(pinned,)),
        Filter(must=(Condition("language", "exists"),)),
        Filter(must=(Condition("year", "any", (1.0,)),)),
    ):
        assert router.matching(given_filter) == set(range(5))


SPREAD = RoutingSpec(by="attribute", attribute="language", placed={"en": [0, 2, 3], "de": [1], "fr": [1]})


def test_a_value_lives_where_it_is_placed():
    """A large one over all of its shards, about evenly; small ones together; one that is not named by its hash."""
    router = Router(SPREAD, 4)
    owners = [router.owner(Item(f"i{i}", attributes={"language": "en"})) for i in range(3000)]
    assert set(owners) == {0, 2, 3}
    assert min(owners.count(shard) for shard in (0, 2, 3)) > 900
    assert {router.owner(Item(f"i{i}", attributes={"language": x})) for i in range(9) for x in ("de", "fr")} == {1}
    assert router.of_value("it") == (shard_of("it", 4),)


def test_a_filter_on_placed_values_asks_their_shards():
    """Of one `must` its values', of several those that all of them leave, of `should` alone those of all of it; at
    least one shard, though nothing can match.
    """
    router = Router(SPREAD, 4)
    english, german = (Condition("language", "any", (x,)) for x in ("en", "de"))
    both, year = Condition("language", "any", ("en", "de")), Condition("year", "exists")
    assert router.matching(Filter(must=(english, year))) == {0, 2, 3}
    assert router.matching(Filter(must=(both, german))) == {1}
    assert router.matching(Filter(should=(english, german))) == {0, 1, 2, 3}
    assert router.matching(Filter(should=(german, german))) == {1}
    assert router.matching(Filter(should=(german, year))) == {0, 1, 2, 3}
    assert len(router.matching(Filter(must=(english, german)))) == 1
    assert router.matching(Filter(must=(year,), also=(Filter(must=(both,)), Filter(must=(german,))))) == {1}


@given(st.dictionaries(any_text(max_size=3), st.integers(0, 10_000), max_size=30), st.integers(1, 12))
def test_a_placement_fills_shards_about_equally(counts, shards):
    """Every value is in shards that exist, in none of them twice; none is fuller than an even share by more than a
    piece, which is at most an even share.
    """
    placed = placement(counts, shards)
    assert placed.keys() == counts.keys()
    filled = [0.0] * shards
    for value, own in placed.items():
        assert len(set(own)) == len(own) >= 1
        assert set(own) <= set(range(shards))
        for shard in own:
            filled[shard] += counts[value] / len(own)
    share = sum(counts.values()) / shards
    assert max(filled) <= 2 * max(share, 1) + 1e-6


def test_a_skewed_value_is_split_and_small_ones_share():
    """Half of all items in two of four shards, the rest around them."""
    counts = {"en": 5000, "de": 2000, **{f"l{n}": 300 for n in range(10)}}
    placed = placement(counts, 4)
    assert len(placed["en"]) == 2
    assert len(placed["de"]) == 1
    filled = [sum(counts[v] / len(own) for v, own in placed.items() if shard in own) for shard in range(4)]
    assert max(filled) <= 1.1 * min(filled)


def test_items_without_the_attribute_live_together():
    """Whatever their ids."""
    router = Router(BY_LANGUAGE, 16)
    assert len({router.owner(Item(f"i{i}")) for i in range(50)}) == 1


@given(any_text(max_size=10), st.integers(1, 40))
def test_a_shard_follows_the_feeds_of_its_items(item_id, shards):
    """Whatever the number of shards, so that a feed outlives a change of it."""
    router = Router(BY_HASH, shards)
    assert feed_of(item_id) in router.feeds(shard_of(item_id, shards))
    assert all(0 <= feed < FEEDS for shard in range(shards) for feed in router.feeds(shard))


def test_shards_share_the_feeds():
    """Where their number divides that of the feeds, each feed has one reader."""
    for shards in (1, 2, 3, 4, 6, 12):
        router = Router(BY_HASH, shards)
        assert sorted(feed for shard in range(shards) for feed in router.feeds(shard)) == list(range(FEEDS))
    assert list(Router(BY_LANGUAGE, 4).feeds(2)) == list(range(FEEDS))
