"""What is known of users and of the moment as features of the trees: which there are, and that trees learn from and
serve by them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.datatypes import RecQuery
from recsys.evaluation.offline import Offline
from recsys.ranking.known_features import CONTEXT, USER, Known, names_of, table, told_apart
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import FEATURES, Ranker, library
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import ProfileLoader
from recsys.serving.request_facts import RequestFacts
from recsys.state.user_attributes import UserAttributes
from recsys.training import blend, ranker_training
from recsys.training.case_table import CaseTable, gather
from recsys.transport.shard_clients import Shards
from tests.support.any_text import any_text

VALUES = st.dictionaries(
    st.sampled_from(["country", "likes", "age", "vip"]),
    st.one_of(
        any_text(max_size=5), st.lists(any_text(max_size=3), max_size=3), st.floats(-100, 100, width=32), st.booleans()
    ),
)


@given(st.lists(VALUES, max_size=8), st.sampled_from([USER, CONTEXT]))
def test_each_value_has_its_column(users, prefix) -> None:
    """Numbers and booleans one by name, keywords one for each value; what is not known is 0. Those of users and
    of the moment are told apart.
    """
    names = names_of(users, prefix)
    filled = table(names, [told_apart(one, {}) if prefix == USER else told_apart({}, one) for one in users])
    others = [told_apart({}, one) if prefix == USER else told_apart(one, {}) for one in users]
    assert not table(names, others).any()
    assert filled.shape == (len(users), len(names))
    assert len(set(names)) == len(names) <= 32
    for row, attributes in zip(filled.tolist(), users, strict=True):
        told = dict(zip(names, row, strict=True))
        for name in ("age", "vip"):
            value = attributes.get(name)
            if isinstance(value, float | bool) and f"{prefix}{name}" in told:
                assert told[f"{prefix}{name}"] == float(value)
        if not attributes:
            assert not any(row)


def test_rare_values_have_none() -> None:
    """Trees would learn those users by heart."""
    users = [{"country": "de"}] * 99 + [{"country": "is"}]
    assert names_of(users) == ("user.country=de",)
    assert names_of([]) == ()
    assert names_of([{"city": "Köln: [a]"}]) == ("user.city=K%C3%B6ln%3A%20%5Ba%5D",)


def cases(count: int = 500, name: str = "user.country=de") -> CaseTable:
    """Half of the cases want what is near, the others what is not; nothing but what has this name tells them apart."""
    rng = np.random.default_rng(2)
    near = rng.random((count, 10)).astype(np.float32)
    there = np.arange(count) % 2 == 0
    hit = np.where(there[:, None], near == near.max(1, keepdims=True), near == near.min(1, keepdims=True))
    signals = np.zeros((count * 10, len(SIGNALS)), np.float32)
    signals[:, list(SIGNALS).index("near")] = near.ravel()
    every, known = np.arange(0, count * 10 + 1, 10), np.ones(count, np.float32)
    return CaseTable(
        signals, hit.ravel(), every, known, known, np.ones(count * 10, np.int64), np.arange(count), count,
        known_names=(name,), known_values=there[:, None].astype(np.float32),
    )  # fmt: skip


@cache
def trained(name: str) -> tuple[str | None, float]:
    return ranker_training.train_ranker(cases(name=name), blend.START, 7)


def test_trees_tell_users_apart_by_what_is_known_of_them() -> None:
    """They are better than without it, look at it, and a served model names it."""
    lightgbm = library()
    with_country, (text, quality) = cases(), trained("user.country=de")
    without = replace(with_country, known_names=(), known_values=None)
    assert quality > ranker_training.train_ranker(without, blend.START, 7)[1] + 0.1
    assert text is not None
    model = lightgbm.Booster(model_str=text)
    splits = dict(zip(model.feature_name(), model.feature_importance(), strict=True))
    assert splits["user.country=de"] > 0
    ranker = Ranker(text)
    assert (ranker.known, ranker.of_users) == (("user.country=de",), True)
    rows = with_country.features(blend.blended(with_country, blend.START))
    assert rows.shape[1] == len(FEATURES) + 1
    np.testing.assert_allclose(ranker.score(rows), model.predict(rows), rtol=1e-4, atol=1e-5)
    shares = ranker.shares(rows[:3])
    assert all("user.country=de" in share for share in shares)
    assert [sum(share.values()) for share in shares] == pytest.approx(model.predict(rows[:3]).tolist(), abs=1e-5)


def test_the_table_of_cases_has_the_users_attributes(lesson) -> None:
    """By user, of those who have cases; without any there are no columns."""
    held = lesson.held.sample(40, 7)
    offline = Offline(lesson.build.store, lesson.version.version, held.train, Serving(), ShardTuning())
    assert gather(offline, held).known_names == ()
    known = {
        user: {"country": "de" if n % 2 else "fr", "age": float(n)} for n, user in enumerate(held.histories.user_ids)
    }
    told = gather(offline, held, Known(known))
    assert set(told.known_names) == {"user.country=de", "user.country=fr", "user.age"}
    age = told.known_names.index("user.age")
    assert told.known_values[:, age].tolist() == [known[held.histories.user_ids[user]]["age"] for user in told.users]


def test_the_table_of_cases_has_the_context_in_which_the_target_was_found(lesson) -> None:
    """The case's own, of the answer that led to its target; other cases have none."""
    held = lesson.held.sample(40, 7)
    offline = Offline(lesson.build.store, lesson.version.version, held.train, Serving(), ShardTuning())
    pairs = [(held.histories.user_ids[case], held.target_ids(case)[0]) for case in range(held.cases)]
    moments = {pair: {"device": "phone"} for pair in pairs[::2]}
    told = gather(offline, held, Known(moments=moments))
    assert told.known_names == ("context.device=phone",)
    assert 0 < told.known_values.sum() < len(told.known_values)
    known = Known({"u": {"age": 3.0}}, {("u", "b"): {"hour": 7.0}})
    assert (known.moment("u", ["a", "b"]), known.moment("v", ["b"])) == ({"hour": 7.0}, {})


def trees(name: str) -> Ranker:
    text, _ = trained(name)
    assert text is not None
    return Ranker(text)


async def test_answers_look_at_the_users_attributes(make_world) -> None:
    """Of each user of a batch its own; where Redis is late the answer says that they are missing."""
    world = await make_world(user_attributes={"country": "keyword"})
    assert isinstance(world.platform, Platform)
    serve = replace(world.follower.serve, ranker=trees("user.country=de"))
    for user, country in (("a", "de"), ("b", "fr")):
        await world.gateway.user_records.describe(user, {"country": country}, whole=True)
    shards, settings = Shards(world.clients.__getitem__, world.follower.router), world.gateway.settings
    facts = RequestFacts(users=UserAttributes(world.redis, None))
    recommender = Recommender(shards, ProfileLoader(world.gateway.users, shards, settings), settings, facts=facts)
    queries = [RecQuery(k=5, user_id=user, explain=True) for user in ("a", "b", "c")]
    first, second, third = await recommender.recommend_many(queries, serve)
    assert all(not isinstance(slate, Exception) and slate.degraded == () for slate in (first, second, third))
    scores = [{item.item_id: item.score for item in slate.items} for slate in (first, second, third)]
    assert scores[1] == scores[2]
    assert scores[0] != scores[1]


async def test_answers_look_at_the_context_of_the_request(make_world) -> None:
    """Of each request of a batch its own; nothing is loaded for it."""
    world = await make_world(context={"device": "keyword"})
    ranker = trees("context.device=phone")
    assert not ranker.of_users
    serve = replace(world.follower.serve, ranker=ranker)
    shards, settings = Shards(world.clients.__getitem__, world.follower.router), world.gateway.settings
    recommender = Recommender(shards, ProfileLoader(world.gateway.users, shards, settings), settings)
    contexts = [{"device": "phone"}, {"device": "desk"}, {}]
    queries = [RecQuery(k=5, user_id="u", context=context, explain=True) for context in contexts]
    phone, desk, nowhere = await recommender.recommend_many(queries, serve)
    assert all(not isinstance(slate, Exception) and slate.degraded == () for slate in (phone, desk, nowhere))
    scores = [{item.item_id: item.score for item in slate.items} for slate in (phone, desk, nowhere)]
    assert scores[1] == scores[2]
    assert scores[0] != scores[1]
