"""Rules of a batch: requests that share a scenario's rules get what each would get with its own."""

from __future__ import annotations

import copy

import numpy as np

from recsys.columns import StringColumn
from recsys.datatypes import Condition, Filter, Rule
from recsys.ranking.rules import BatchRules, with_effects
from recsys.shard.candidates import CandidateSet
from recsys.shard.trail_measures import LIKENESS

NOW = 1_000_000.0
RULES = (
    Rule("more", "boost", Filter(must=(Condition("a", "any", ("x",)),)), weight=0.5),
    Rule("third", "pin", Filter(must=(Condition("a", "any", ("y",)),)), position=3),
    Rule("some", "promote", Filter(must=(Condition("b", "exists"),)), share=0.25),
    Rule("new", "fresh", weight=0.3, half_life_s=1000.0),
    Rule("past", "boost", weight=9.0, ends_at=NOW),
)
K = [10, 10, 0, 20, 10, 10]


def candidates(filters: int) -> CandidateSet:
    rng, n = np.random.default_rng(1), 60
    return CandidateSet(
        offsets=np.arange(7) * 10,
        keys=np.arange(n, dtype=np.uint64),
        sources=np.ones(n, np.int64),
        likeness=np.full((n, LIKENESS), np.nan, np.float32),
        columns=np.full((n, 3), NOW - 500.0),
        ids=StringColumn.of([f"i{i}" for i in range(n)]),
        titles=StringColumn.of([""] * n),
        sketches=np.zeros((n, 0), np.int8),
        groups=np.zeros((n, 0), np.uint64),
        twins=np.zeros(n, np.uint64),
        matches=np.packbits(rng.random((n, filters)) < 0.4, axis=1, bitorder="little"),
        top_count=1.0,
    )


def test_shared_rules_do_what_rules_of_each_request_do() -> None:
    """Also where one scenario has all of them, another one some, and another none."""
    shared, some = RULES, RULES[1:]
    given = [shared, some, shared, (), shared, some]
    together = BatchRules.of(given, NOW)
    apart = BatchRules.of([copy.deepcopy(rules) for rules in given], NOW)
    assert together.filters == apart.filters == tuple(rule.filter for rule in RULES[:3])
    assert together.wants(K) == apart.wants(K)
    assert [want[0] for want in together.wants(K)] == [0, 0, 1, 1, 4, 4, 5, 5]
    found = candidates(len(together.filters))
    both = [rules.effects(found, NOW) for rules in (together, apart)]
    for ours, theirs in zip(*both, strict=True):
        assert (ours.name, ours.weight, ours.rule) == (theirs.name, theirs.weight, theirs.rule)
        assert ours.rows.tolist() == theirs.rows.tolist() == sorted(ours.rows.tolist())
        np.testing.assert_array_equal(ours.signal, theirs.signal)
    assert [effect.name for effect in both[0]] == ["rule:more", "rule:third", "rule:some", "rule:new"]
    scores = np.zeros(60, np.float32)
    np.testing.assert_array_equal(with_effects(scores, both[0]), with_effects(scores, both[1]))
    places = [
        {b: [(p.rows.tolist(), p.position, p.share) for p in one.rules] for one in own for b in one.requests}
        for own in map(BatchRules.placings, (together, apart), both)
    ]
    assert places[0] == places[1]
    assert sorted(places[0]) == [0, 1, 2, 4, 5]


def test_no_rules_ask_for_nothing() -> None:
    none = BatchRules.of([(), ()], NOW)
    assert (none.filters, none.wants([5, 5]), none.effects(candidates(0), NOW)) == ((), (), [])
    assert none.placings([]) == []
