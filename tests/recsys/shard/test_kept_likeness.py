"""Likeness that is kept for users who come again: the same to the bit as what a shard without memory computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from recsys.datatypes import Item, item_keys
from recsys.shard.candidates import BECAUSE, LONG, ROLES, TASTE, ShardQuery
from recsys.shard.kept_arrays import KeptArrays
from recsys.shard.kept_likeness import MOST_BYTES
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS
from recsys.shard.told_profiles import Untold
from recsys.state.item_counts import Counts
from recsys.versions.opening import open_shard
from tests.support.lesson import Lesson
from tests.support.small_shards import Asked, query_of
from tests.support.world import DIMENSION, catalogue, unit_rows

NAMES = [item.item_id for item in catalogue()]


@pytest.fixture
def shards(lesson: Lesson) -> list[Shard]:
    """The same one twice."""
    return [open_shard(lesson.build.store, lesson.version.version, 0) for _ in range(2)]


def asking(users: Sequence[int], width: int) -> ShardQuery:
    """Each user has likes and vectors of her own, and some have fewer of them; every fifth has none."""
    vectors, owners, roles, trails = [], [], [], []
    for place, user in enumerate(users):
        rng = np.random.default_rng(user)
        own = [TASTE, LONG, BECAUSE, BECAUSE + 1][: 4 - user % 2]
        vectors.append(unit_rows(rng.standard_normal((len(own), width))))
        owners += [place] * len(own)
        roles += own
        trails.append(item_keys(rng.choice(NAMES, 0 if user % 5 == 0 else 3 + user % 4, replace=False).tolist()))
    role = np.array(roles)
    return replace(
        query_of([Asked()] * len(users)),
        vectors=np.concatenate(vectors).astype(np.float32),
        vector_request=np.array(owners),
        vector_role=role,
        vector_source=np.where(role == TASTE, BITS["similar"], 0),
        vector_k=np.where(role == TASTE, 7, 0),
        trail=np.concatenate(trails),
        trail_weights=np.concatenate([np.linspace(1.0, 2.0, len(own), dtype=np.float32) for own in trails]),
        trail_offsets=np.cumsum([0, *map(len, trails)]),
        column_k=np.tile([0, 3, 0], (len(users), 1)),
    )


def named(query: ShardQuery, users: Sequence[int], kind: int, *, short: bool) -> ShardQuery:
    """The same where each user with likes has a name, another one for each `kind` of question. `short`: what belongs to
    it was told before, and is left out.
    """
    has_likes = np.diff(query.trail_offsets) > 0
    numbers = np.where(has_likes, np.array(users) * 100 + kind + 1, 0)
    names = np.stack([has_likes.astype(int), numbers, has_likes & short], axis=1).astype(np.uint64)
    query = replace(query, names=names)
    if not short:
        return query
    sent = (query.vector_role == TASTE) | ~has_likes[query.vector_request]
    columns = ("vectors", "vector_request", "vector_role", "vector_source", "vector_k")
    return replace(
        query,
        **{name: getattr(query, name)[sent] for name in columns},
        trail=query.trail[:0],
        trail_weights=query.trail_weights[:0],
        trail_offsets=np.zeros(query.size + 1, np.int64),
    )


def without_memory(shard: Shard, query: ShardQuery) -> np.ndarray:
    """Request by request, each as the first that the shard is asked. Of users without likes the last likes tell 0
    beside others who have some, and alone nothing.
    """
    alone = []
    for b in range(query.size):
        shard.likeness = KeptArrays(MOST_BYTES)
        own = search(shard, query.part(np.array([b]))).likeness
        if query.trail_offsets[b] == query.trail_offsets[b + 1]:
            own[:, ROLES:] = np.nan
        alone.append(own)
    return np.concatenate(alone)


def test_who_comes_again_is_answered_to_the_bit_as_at_first(shards: list[Shard]) -> None:
    """With others than before, after likes and items came, and with another profile, of which a part is as it was; told
    all, and told the name of it.
    """
    shard, plain = shards
    width, rng = shard.items.width, np.random.default_rng(1)
    for turn in range(30):
        users = rng.choice(25, 8, replace=False).tolist()
        query = asking(users, width)
        if turn % 3 == 1:  # likes that weigh more, or another taste, of the same items
            query = replace(query, trail_weights=query.trail_weights * np.float32(1 + turn % 2))
        if turn % 3 == 2:
            query = replace(query, vectors=-query.vectors)
        if turn % 10 == 9:
            for one in (shard, plain):
                one.count(Counts(NAMES[turn : turn + 3], [9.0, 8.0, 7.0], [1.0, 1.0, 1.0]))
                one.upsert([Item(f"new-{turn}", "new")], unit_rows(np.ones((1, DIMENSION))).astype(np.float32))
                one.delete([NAMES[turn - 5]])
        expected = without_memory(plain, query)
        for short in (False, False, True):
            found = search(shard, named(query, users, turn % 6, short=short)).likeness
            told = ~np.isnan(expected)
            np.testing.assert_array_equal(found[told], expected[told])
            assert not np.nan_to_num(found[~told]).any()
    assert len(shard.likeness) == len(shard.told) > 20


def test_who_is_named_is_answered_where_the_rows_are_others_than_last_time(shards: list[Shard]) -> None:
    """What was measured is of no use then, and what belongs to the name is."""
    shard, plain = shards
    users = [1, 2, 5, 8]
    query = asking(users, shard.items.width)
    search(shard, named(query, users, 0, short=False))
    for more in ([3, 0, 0], [0, 5, 0]):
        other = replace(query, column_k=np.tile(more, (4, 1)))
        mixed = named(other, users, 0, short=True)
        expected, found = without_memory(plain, other), search(shard, mixed).likeness
        told = ~np.isnan(expected)
        np.testing.assert_array_equal(found[told], expected[told])


def test_a_name_that_was_not_told_is_refused_and_nothing_is_searched(shards: list[Shard]) -> None:
    shard, _ = shards
    users = [1, 2]
    query = asking(users, shard.items.width)
    search(shard, named(query, users, 0, short=False).part(np.array([0])))
    with pytest.raises(Untold):
        search(shard, named(query, users, 0, short=True))
    shard.told = KeptArrays(0)
    with pytest.raises(Untold):
        search(shard, named(query, users, 0, short=True).part(np.array([0])))
