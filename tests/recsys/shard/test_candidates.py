"""Answers of several shards made one."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from recsys.columns import StringColumn
from recsys.datatypes import KEY_BITS, item_key, item_keys
from recsys.shard.candidates import CandidateSet, Searched, contains, tag
from recsys.shard.probes import nearest_query
from recsys.shard.sources import COLUMNS
from recsys.shard.trail_measures import LIKENESS
from recsys.transport import wire


def part_of(shard: int, requests: list[dict[str, int]]) -> CandidateSet:
    """A shard's answer, by key: for each request item -> sources; everything else is made of the shard and the id."""
    requests = [dict(sorted(r.items(), key=lambda entry: item_key(entry[0]))) for r in requests]
    ids = [i for r in requests for i in r]
    n = len(ids)
    marks = np.array([shard * 1000 + len(i) for i in ids], float)
    return CandidateSet(
        offsets=np.cumsum([0, *map(len, requests)]),
        keys=item_keys(ids),
        sources=np.array([s for r in requests for s in r.values()], np.int64),
        likeness=np.repeat(marks[:, None], LIKENESS, 1).astype(np.float32),
        columns=np.repeat(marks[:, None], 3, 1),
        ids=StringColumn.of(ids),
        titles=StringColumn.of([f"title of {i} in {shard}" for i in ids]),
        sketches=np.full((n, 2), shard, np.int8),
        groups=np.full((n, 1), shard, np.uint64),
        twins=np.full(n, shard, np.uint64),
        matches=np.full((n, 1), shard, np.uint8),
        top_count=float(shard),
    )


def rows_of(c: CandidateSet) -> list[list[tuple[Any, ...]]]:
    return [
        [
            (int(c.keys[i]), c.ids[i], c.titles[i], int(c.sources[i]), float(c.likeness[i, 0]), float(c.columns[i, 2]),
             int(c.sketches[i, 1]))
            for i in range(start, end)
        ]
        for start, end in zip(c.offsets[:-1], c.offsets[1:], strict=True)
    ]  # fmt: skip


answer = st.dictionaries(st.sampled_from(["a", "bb", "ü", "dd/ d", "e", "ff"]), st.integers(1, 63), max_size=5)


@given(st.data(), st.integers(1, 6))
def test_a_part_of_a_batch_is_answered_as_the_whole_would_be(data, size):
    """Its requests keep their vectors, likes, exclusions, filters and ids; its answer stands at their places."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    counts = rng.integers(0, 4, (3, size))
    of = np.repeat(np.arange(size), counts[0])
    whole = structs.replace(
        nearest_query("v", rng.random((len(of), 3)).astype(np.float32), 5),
        vector_request=of,
        trail=np.repeat(np.arange(size), counts[1]).astype(np.uint64),
        trail_weights=np.ones(counts[1].sum(), np.float32),
        trail_offsets=np.cumsum([0, *counts[1]]),
        column_k=np.arange(size)[:, None].repeat(len(COLUMNS), 1),
        filters=(None,) * size,
        exclude=np.repeat(np.arange(size), counts[2]).astype(np.uint64),
        exclude_offsets=np.cumsum([0, *counts[2]]),
        asked=tuple((f"i{n}",) for n in range(size)),
        recall_floors=tuple(n / 10 for n in range(size)),
        rule_wants=tuple((n, 7, n + 1) for n in range(size)),
    )
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1))))
    part = whole.part(chosen)
    assert part.size == len(chosen)
    for new, old in enumerate(chosen.tolist()):
        np.testing.assert_array_equal(part.vectors[part.vector_request == new], whole.vectors[of == old])
        for values, offsets, size_of in ((part.trail, part.trail_offsets, 1), (part.exclude, part.exclude_offsets, 2)):
            own = values[offsets[new] : offsets[new + 1]]
            assert own.tolist() == [old] * counts[size_of][old]
        assert part.column_k[new].tolist() == whole.column_k[old].tolist()
        assert part.asked[new] == whole.asked[old]
        assert part.recall_floors[new] == whole.recall_floors[old]
        assert part.rule_wants[new] == (new, 7, old + 1)
    wire.decode_query(wire.encode(part))
    answers = [{"a": 1, "bb": 2}, {"ü": 3}, {}]
    lines = [answers[n % 3] for n in range(len(chosen))]
    spread = structs.replace(part_of(0, lines), searched={0: Searched(1, 5)}).spread(chosen, size)
    assert spread.searched == {int(chosen[0]): Searched(1, 5)}
    got = rows_of(spread)
    assert [len(line) for line in got] == [
        len(lines[chosen.tolist().index(n)]) if n in chosen else 0 for n in range(size)
    ]


@given(st.integers(1, 4).flatmap(lambda b: st.lists(st.lists(answer, min_size=b, max_size=b), min_size=1, max_size=4)))
def test_merge_is_the_union_by_request(shards):
    """Each request's candidates of all shards in order of key; one that two shards hold stays once, the first's."""
    parts = [part_of(n, requests) for n, requests in enumerate(shards)]
    expected = []
    for b in range(len(shards[0])):
        union: dict[int, tuple[Any, ...]] = {}
        for part in parts:
            for row in rows_of(part)[b]:
                union.setdefault(row[0], row)
        expected.append([union[key] for key in sorted(union)])
    merged = CandidateSet.merge(parts)
    assert rows_of(merged) == expected
    assert merged.top_count == len(shards) - 1
    assert merged.requests.tolist() == [b for b, rows in enumerate(expected) for _ in rows]


@given(st.sets(st.tuples(st.integers(0, 1023), st.integers(0, 2**KEY_BITS - 1)), max_size=30), st.data())
def test_tags_tell_requests_apart(pairs, data):
    """A tag is found among the sorted ones exactly when the same request has the same key."""
    pairs = sorted(pairs)
    requests, keys = (np.array([p[i] for p in pairs], t) for i, t in ((0, np.int64), (1, np.uint64)))
    tags = tag(requests, keys)
    assert (np.sort(tags) == tags).all()
    probe = st.tuples(st.integers(0, 1023), st.integers(0, 2**KEY_BITS - 1))
    asked = data.draw(st.lists(st.sampled_from(pairs) | probe if pairs else probe, max_size=20))
    asked_tags = tag(np.array([p[0] for p in asked], np.int64), np.array([p[1] for p in asked], np.uint64))
    assert contains(tags, asked_tags).tolist() == [p in set(pairs) for p in asked]


def test_contains_keeps_the_shape():
    """Of an empty list nothing is contained."""
    none = np.zeros(0, np.uint64)
    assert contains(none, np.ones((2, 3), np.uint64)).tolist() == [[False] * 3] * 2
    assert contains(np.array([1], np.uint64), none).shape == (0,)
    assert item_key("a") < 1 << KEY_BITS


def test_two_items_that_share_a_key_both_stay():
    """Keys have 48 bits: where two are equal ids decide, and the same item of two shards still stays once."""
    parts = [part_of(0, [{"a": 1, "bb": 2}, {"e": 1}]), part_of(1, [{"ff": 4, "bb": 8}, {"e": 2}])]
    shared = [structs.replace(part, keys=np.full(len(part.keys), 77, np.uint64)) for part in parts]
    merged = CandidateSet.merge(shared)
    assert [sorted(row[1] for row in line) for line in rows_of(merged)] == [["a", "bb", "ff"], ["e"]]
    assert sorted(row[2] for row in rows_of(merged)[0] if row[1] == "bb") == ["title of bb in 0"]
