"""A trained version behind the gateway: histories and profiles in a real Valkey, real shards, versions that switch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.datatypes import Item, RecQuery
from recsys.encoders.hashing import HashingEncoder
from recsys.training.blend import START
from tests.support.people import build, publish
from tests.support.world import TOPICS, catalogue, event, eventually, topic_of


@pytest.fixture
def model(lesson):
    return lesson.model


async def trained_world(make_world, model):
    """A world whose first version learned nothing and whose second serves the model."""
    world = await make_world()
    version = publish(build(world.store), model).version
    world.store.promote(version)
    assert await eventually(lambda: world.follower.serve.version == version)
    return world


def ids(slate) -> list[str]:
    return [item.item_id for item in slate.items]


async def test_the_last_likes_decide_and_each_event_counts_at_once(make_world, model):
    """After 2, 3, 4 of a topic comes 5; one like elsewhere, and the very next answer goes on from there."""
    world = await trained_world(make_world, model)
    await world.gateway.record([event("u", f"sea-{i}") for i in (2, 3, 4)])
    first = await world.gateway.recommend(RecQuery(k=3, user_id="u", diversity=0.0))
    assert first.model_version.startswith("learned")
    assert "sea-5" in ids(first)
    await world.gateway.record([event("u", f"forest-{i}") for i in (3, 4)])
    second = await world.gateway.recommend(RecQuery(k=2, user_id="u", diversity=0.0))
    assert "forest-5" in ids(second)


async def test_a_rebuilt_profile_is_the_folded_one(make_world, model):
    """Dropped from the cache, a profile made of the whole history answers as the one made event by event did."""
    world = await trained_world(make_world, model)
    for i in (1, 2, 3, 4):
        await world.gateway.record([event("u", f"sea-{i}")])
    await world.counted()
    folded = await world.gateway.recommend(RecQuery(k=10, user_id="u", explain=True))
    await world.redis.delete("recsys:profile:u")
    rebuilt = await world.gateway.recommend(RecQuery(k=10, user_id="u", explain=True))
    assert ids(rebuilt) == ids(folded)
    np.testing.assert_allclose([i.score for i in rebuilt.items], [i.score for i in folded.items], rtol=1e-4)
    assert folded.items[0].signals["near"] > 0


async def test_histories_outlive_a_switch_of_spaces(make_world, model):
    """Events told before the model was there count in its answers, and in those of texts alone after a rollback."""
    world = await make_world()
    await world.gateway.record([event("u", f"sea-{i}") for i in (2, 3, 4)])
    await world.counted()
    plain = await world.gateway.recommend(RecQuery(k=5, user_id="u"))
    version = publish(build(world.store), model).version
    world.store.promote(version)
    assert await eventually(lambda: world.follower.serve.version == version)
    assert "sea-5" in ids(await world.gateway.recommend(RecQuery(k=3, user_id="u", diversity=0.0)))
    world.store.rollback()
    assert await eventually(lambda: world.follower.serve.version != version)
    assert ids(await world.gateway.recommend(RecQuery(k=5, user_id="u"))) == ids(plain)


async def test_strangers_texts_and_likes_of_items_are_answered(make_world, model):
    """A user of whom nothing is known, a text, an item's neighbours: none of them needs a taste."""
    world = await trained_world(make_world, model)
    assert len((await world.gateway.recommend(RecQuery(k=5, user_id="nobody"))).items) == 5
    found = await world.gateway.search(f"sea {TOPICS['sea']}", RecQuery(k=5, scenario="search"))
    assert {topic_of(i) for i in ids(found)} == {"sea"}
    similar = await world.gateway.recommend(RecQuery(k=3, scenario="similar", like_item="sea-3"))
    assert {topic_of(i) for i in ids(similar)} == {"sea"}
    assert "sea-3" not in ids(similar)


async def test_an_item_added_later_is_explored(make_world, model):
    """With a share for new items, one that came over HTTP is shown to people of its topic; without, to none of them,
    where items are shown for what many people like.
    """
    world = await trained_world(make_world, replace(model, weights=START | {"popularity": 2.0}, ranker=None))
    for i, item in enumerate(catalogue()):  # all others are known well
        await world.gateway.record([event(f"fan{n}", item.item_id, event_id=f"{i}-{n}") for n in range(6)])
    await world.gateway.record([event("u", f"sea-{i}") for i in (2, 3, 4)])
    await world.gateway.items.upsert([Item("sea-new", f"sea {TOPICS['sea']}", TOPICS["sea"])], wait_visible=True)
    await world.counted()

    async def explored() -> bool:
        return ids(await world.gateway.recommend(RecQuery(k=10, user_id="u", explore=0.1)))[-1] == "sea-new"

    assert await eventually(explored)
    assert "sea-new" not in ids(await world.gateway.recommend(RecQuery(k=10, user_id="u", explore=0.0)))


async def test_a_given_text_vector_gets_what_was_learned_of_texts(make_world, model):
    """An item that comes with its vector has the same signals as one whose text is encoded."""
    world = await trained_world(make_world, model)
    await world.gateway.record([event("u", f"sea-{i}") for i in (2, 3, 4)])
    await world.counted()
    new, signals = Item("new", "sea", TOPICS["sea"]), []
    [vector] = HashingEncoder(world.platform.encoder).encode([new.passage()])
    for given in ({}, {0: np.float64(5) * vector}):
        await world.gateway.items.upsert([new], wait_visible=True, given=given)
        slate = await world.gateway.recommend(RecQuery(k=1, items=("new",), user_id="u", explain=True, scenario="rank"))
        signals.append(slate.items[0].signals)
        await world.gateway.items.delete("new", wait_visible=True)
    assert signals[0] == pytest.approx(signals[1], abs=1e-4)
    assert any(signals[0].values())
