"""What rules need of a shard: requests together get what each gets alone."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from recsys.datatypes import Condition, Filter
from recsys.shard.candidates import QUERY, TASTE
from recsys.shard.kept_arrays import KeptArrays
from recsys.shard.rule_matches import promoted
from recsys.shard.search import search
from recsys.shard.shard import Shard
from tests.support.small_shards import Asked, D, make_shard, query_of
from tests.support.world import unit_rows

EVEN = Filter(must=(Condition("parity", "any", ("even",)),))
SEVENTH = Filter(must=(Condition("hundreds", "any", ("7",)),))
MANY = Filter(must=(Condition("parity", "exists"),))


@pytest.fixture(scope="module")
def shard() -> Shard:
    return make_shard(3000)


def asked(seed: int) -> Asked:
    rng = np.random.default_rng(seed)
    vectors = unit_rows(rng.standard_normal((2, D)))
    wanted = [(TASTE, "similar", 10, vectors[0]), (QUERY, "similar", 10, vectors[1])][: seed % 3]
    own = (None, EVEN, None, SEVENTH)[seed % 4]
    exclude = [f"i{n}" for n in rng.choice(3000, 40 * (seed % 2), replace=False).tolist()]
    return Asked(vectors=wanted, filter=own, exclude=exclude)


@pytest.mark.parametrize("rule", [EVEN, SEVENTH, MANY])
def test_requests_together_get_what_each_gets_alone(shard: Shard, rule: Filter) -> None:
    """With filters, exclusions and vectors of their own, or none; of few matches and of more than are compared."""
    batch = [asked(seed) for seed in range(12)]
    query = replace(
        query_of(batch),
        rule_filters=(MANY, rule),
        rule_wants=tuple((b, place, 6 + b % 2) for b in range(12) for place in (0, 1)),
    )
    together = search(shard, query)
    for b in range(12):
        alone = search(shard, query.part(np.array([b])))
        own = slice(together.offsets[b], together.offsets[b + 1])
        assert alone.keys.tolist() == together.keys[own].tolist()
        assert alone.sources.tolist() == together.sources[own].tolist()
        assert alone.matches.tolist() == together.matches[own].tolist()


def test_half_of_the_matches_are_near_and_half_are_liked(shard: Shard) -> None:
    """The nearest by their products with what is asked for, else with the taste, the others by likes."""
    for seed in (1, 2, 5, 10):
        query = replace(query_of([asked(seed)]), rule_filters=(MANY,), rule_wants=((0, 0, 9),))
        [proposed] = promoted(shard, query, query.exclude)
        liked = shard.lists.ranked("popular", MANY, 1024)
        keys = shard.items.keys.view
        own = query.filters[0]
        free = liked[~np.isin(keys[liked], query.exclude)]
        free = free if own is None else free[shard.lists.mask(own)[free]]
        roles = query.vector_role.tolist()
        vector = query.vectors[roles.index(QUERY if QUERY in roles else TASTE)]
        scored = free[:1024]
        near = scored[np.argsort(-(shard.items.vectors(scored) @ vector), kind="stable")[:5]]
        others = free[~np.isin(free, near)][:4]
        assert proposed.rows.tolist() == [*near.tolist(), *others.tolist()]


def test_who_comes_again_is_promoted_what_a_shard_without_memory_promotes() -> None:
    """Also where others come beside, where the rule asks for more, and after likes, items and deletions came."""
    shard, plain = make_shard(3000), make_shard(3000)
    rng = np.random.default_rng(2)
    for turn in range(16):
        users = [
            asked(seed) for seed in rng.choice(np.array([2, 4, 10, 14, 16, 22, 26, 28]), 5, replace=False).tolist()
        ]
        query = replace(
            query_of(users),
            rule_filters=(SEVENTH, EVEN),
            rule_wants=tuple((b, place, 6 + turn % 2) for b in range(5) for place in (0, 1)),
        )
        plain.promoted = KeptArrays(1 << 20)
        ours, theirs = search(shard, query), search(plain, query)
        for name in ("keys", "sources", "likeness", "matches"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        for one in (shard, plain):
            liked = [f"i{n}" for n in (700 + turn, 702, 704)]
            one.items.count(liked, [100.0 + turn, 5.0, turn], [0.0, 0.0, 0.0])
            if turn % 4 == 3:
                one.items.delete([f"i{706 + turn}"])
    assert len(shard.promoted)
