"""A question that is asked again is the one that would be made anew."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from msgspec.structs import fields

from recsys.columns import StringColumn
from recsys.datatypes import Condition, Filter, RecQuery, Rule
from recsys.ranking.batch_query import Prepared, Wants, shard_query
from recsys.ranking.question_rows import Asked, KeptRows, Want
from recsys.ranking.rules import BatchRules
from recsys.ranking.signals import Moment
from recsys.serving.kept_questions import KeptQuestions
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import ProfileLoader
from recsys.shard.candidates import ShardQuery
from recsys.transport import wire
from recsys.transport.shard_clients import Shards
from tests.support.slates import ids
from tests.support.world import catalogue, event

QUERY = RecQuery(k=5, user_id="u")
NO_RULES = BatchRules.of([()], 0.0)


@pytest.fixture
async def world(make_world):
    world = await make_world(shards=1, items=catalogue(20))
    await world.gateway.record([event(user, f"sea-{n}") for user in ("u", "v") for n in range(3)])
    return world


async def prepared(world: Any, query: RecQuery) -> Prepared:
    gateway = world.gateway
    shards = Shards(lambda shard: world.clients[shard], lambda _: world.router)
    recommender = Recommender(shards, ProfileLoader(gateway.users, shards, gateway.settings), gateway.settings)
    [one] = await recommender.prepare([query], gateway.follower.serve)
    assert isinstance(one, Prepared)
    return one


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return bool(left.dtype == right.dtype and np.array_equal(left, right))
    return bool(left == right)


def assert_same(left: ShardQuery, right: ShardQuery) -> None:
    for field in fields(ShardQuery):
        assert same(getattr(left, field.name), getattr(right, field.name)), field.name
    assert not any(isinstance(getattr(left, field.name), StringColumn) for field in fields(ShardQuery))


async def test_the_question_of_another_moment_is_the_one_made_anew(world):
    """Each field is the same, as the shard reads it and as another way takes it."""
    serve, one, questions = world.gateway.follower.serve, await prepared(world, QUERY), KeptQuestions()
    for n in range(4):
        moment, left_s = Moment(1_700_000_000.0 + n, 1e6, 1e6), 1.0 / (n + 1)
        anew = shard_query(serve, [one], moment, NO_RULES, Wants(), left_s)
        question = questions.of(serve, [one], moment, NO_RULES, left_s)
        assert wire.encode(question) == wire.encode(anew)
        assert_same(wire.decode_query(wire.encode(question)), anew)
        assert_same(pickle.loads(pickle.dumps(question)), anew)
        assert_same(question, anew)


OTHERS = [
    structs.replace(QUERY, k=6),
    structs.replace(QUERY, include_seen=True),
    structs.replace(QUERY, diversity=0.0),
    structs.replace(QUERY, user_id="v"),
    structs.replace(QUERY, exclude=("sea-9",)),
    structs.replace(QUERY, items=("sea-9", "sea-8")),
    structs.replace(QUERY, like_item="sea-9"),
    structs.replace(QUERY, basket=(event("u", "space-1"),)),
    structs.replace(QUERY, scenario="similar", like_item="sea-2"),
]


async def test_other_wishes_make_another_question(world, subtests):
    """Whatever was asked before, and after."""
    serve, moment = world.gateway.follower.serve, Moment(1_700_000_000.0, 1e6, 1e6)
    for query in OTHERS:
        with subtests.test(query=query):
            questions = KeptQuestions()
            usual, other = await prepared(world, QUERY), await prepared(world, query)
            for one in (usual, other, usual, other, other):
                anew = shard_query(serve, [one], moment, NO_RULES, Wants())
                assert wire.encode(questions.of(serve, [one], moment, NO_RULES)) == wire.encode(anew)


async def test_rules_that_hold_are_part_of_the_question(world):
    """The same rules make the same question; others, and rules that hold no more, another one."""
    serve, one, questions = world.gateway.follower.serve, await prepared(world, QUERY), KeptQuestions()
    topic = Filter(must=(Condition("topic", "any", ("sea",)),))
    pin = Rule("first", "pin", topic, position=1, ends_at=1_700_000_002.0)
    boost = Rule("more", "boost", topic, weight=0.5)
    for rules in ((pin,), (pin, boost), (pin, boost), (boost,), ()):
        ruled = structs.replace(one, rules=rules)
        for n in range(4):
            moment = Moment(1_700_000_000.0 + n, 1e6, 1e6)
            holding = BatchRules.of([ruled.rules], moment.now)
            anew = shard_query(serve, [ruled], moment, holding, Wants())
            assert wire.encode(questions.of(serve, [ruled], moment, holding)) == wire.encode(anew)
    assert len(questions) == 1


async def test_no_question_outlives_its_profile(world):
    """Nothing of a user is left here when the profile has been forgotten."""
    serve, moment, questions = world.gateway.follower.serve, Moment(1_700_000_000.0, 1e6, 1e6), KeptQuestions()
    one = await prepared(world, QUERY)
    for _ in range(2):
        questions.of(serve, [one], moment, NO_RULES)
    assert len(questions) == 1
    del one
    world.gateway.users.profiles.outdate(["u"])
    gc.collect()
    assert len(questions) == 0


async def test_the_oldest_question_leaves_first(world):
    serve, moment, questions = world.gateway.follower.serve, Moment(1_700_000_000.0, 1e6, 1e6), KeptQuestions(most=1)
    both = [await prepared(world, structs.replace(QUERY, user_id=user)) for user in ("u", "v")]
    for one in (*both, *both):
        anew = shard_query(serve, [one], moment, NO_RULES, Wants())
        assert wire.encode(questions.of(serve, [one], moment, NO_RULES)) == wire.encode(anew)
        assert len(questions) == 1


async def test_answers_to_repeated_requests_are_those_of_a_batch(world):
    """A batch of two has no question that is kept."""
    [batched, _] = [await world.gateway.recommend(QUERY) for _ in range(2)]
    for _ in range(4):
        assert ids(await world.gateway.recommend(QUERY)) == ids(batched)
    await world.gateway.record([event("u", ids(batched)[0])])
    for _ in range(3):
        assert ids(batched)[0] not in ids(await world.gateway.recommend(QUERY))


@pytest.mark.parametrize("wishes", [{}, {"explore": 0.5}, {"diversity": 0.3, "k": 3}, {"include_seen": True}])
async def test_a_batch_of_users_who_came_before_is_asked_as_one_of_new_users(world, wishes):
    """Their vectors are kept; those of another kind of request, and of a profile that has changed, are made anew."""
    serve, moment, wants = world.gateway.follower.serve, Moment(1e9, 1e5, 1e5), Wants()
    for _ in range(2):
        plain = [await prepared(world, RecQuery(k=5, user_id=user)) for user in ("u", "v", "nobody")]
        others = [structs.replace(one, query=structs.replace(one.query, **wishes)) for one in plain]
        for batch in (plain, plain, others, others, [*others, *plain], plain):
            rules = BatchRules.of([()] * len(batch), 0.0)
            kept, anew = (shard_query(serve, batch, moment, rules, memory) for memory in (wants, Wants()))
            assert_same(kept, anew)
        await world.gateway.record([event("u", "forest-1"), event("v", "forest-2", type="dislike")])


async def test_the_vectors_of_a_user_are_forgotten_with_the_profile(world):
    serve = world.gateway.follower.serve
    one = await prepared(world, QUERY)
    rows, want, asked = KeptRows(most=2), Want.of({"similar": 5}, {"taste": 1.0}), Asked(None, False, False, False)
    copies = [structs.replace(one.profile) for _ in range(5)]
    for profile in copies:
        assert rows.of(serve.space, profile, want, asked) is rows.of(serve.space, profile, want, asked)
    assert len(rows) == 2
    del profile, copies
    gc.collect()
    assert len(rows) == 0
    text = Asked(np.ones(serve.space.width, np.float32), *asked[1:])
    assert rows.of(serve.space, one.profile, want, text).numbers[0][2] == 5
    assert len(rows) == 0  # a text is another each time
