"""The rows of a walk that are proposed, and each item once, by compiled code, beside numpy and plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.datatypes import KEY_BITS
from recsys.shard import neighbours
from recsys.shard import search as searching
from recsys.shard.candidates import BECAUSE, QUERY, TASTE, tag
from recsys.shard.chosen_rows import ALL, CHOOSING, Lines, first, matching, once
from recsys.shard.proposals import Proposals
from recsys.shard.search import search
from recsys.transport import wire
from tests.support.small_shards import Asked, D, make_shard, query_of
from tests.support.world import unit_rows

pytestmark = pytest.mark.skipif(CHOOSING is None, reason="recsys/shard/choosing.c was not compiled at install")


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 80), st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_first_rows_are_those_of_a_plain_look(seed: int, m: int, w: int, dead: bool, excludes: bool) -> None:
    """Padding, dead rows and excluded ones are passed over, each request's own; a line that falls short is told."""
    rng = np.random.default_rng(seed)
    keys = rng.choice(1 << KEY_BITS, 100, replace=False).astype(np.uint64)
    alive = rng.random(100) < 0.8 if dead else ALL
    rows = np.array([rng.permutation(np.arange(-1, 99))[:w] for _ in range(m)])
    requests, wanted, bits = np.sort(rng.integers(0, 3, m)), rng.integers(1, w + 1, m), 1 << rng.integers(0, 4, m)
    named = [(b, int(row)) for b in range(3) for row in rng.choice(100, 10 * excludes, replace=False)]
    excluded = np.sort(np.array([tag(np.array([b]), keys[[row]])[0] for b, row in named], np.uint64))
    scores = rng.standard_normal((m, w)).astype(np.float32) if seed % 2 else None
    lines = [
        [j for j in range(w) if rows[i, j] >= 0 and (not dead or alive[rows[i, j]])
         and (int(requests[i]), int(rows[i, j])) not in named][: wanted[i]]
        for i in range(m)
    ]  # fmt: skip
    found = first(Lines(requests, wanted, bits, rows, scores), keys, alive, excluded, CHOOSING)
    if any(len(line) < k for line, k in zip(lines, wanted.tolist(), strict=True)):
        assert found is None
        return
    assert found is not None
    places = [(i, j) for i, line in enumerate(lines) for j in line]
    assert found.requests.tolist() == [requests[i] for i, _ in places]
    assert found.rows.tolist() == [rows[place] for place in places]
    assert found.bits.tolist() == [bits[i] for i, _ in places]
    assert (found.scores is None) == (scores is None)
    if scores is not None:
        assert found.scores.tolist() == [scores[place] for place in places]


@given(st.integers(0, 2**32), st.integers(0, 150), st.integers(1, 3), st.booleans())
@settings(max_examples=80, deadline=None)
def test_each_item_comes_once(seed: int, n: int, size: int, shared: bool) -> None:
    """In the order of the tags, with the bits of all sources and the first score; not where rows share a key."""
    rng = np.random.default_rng(seed)
    keys = rng.choice(1 << KEY_BITS, 100, replace=False).astype(np.uint64)
    if shared:
        keys[50:] = keys[:50]
    requests, rows, bits = rng.integers(0, size, n), rng.integers(0, 100, n), 1 << rng.integers(0, 5, n)
    scores = rng.standard_normal(n).astype(np.float32) if seed % 2 else None
    expected: dict[int, tuple[int, int, int]] = {}
    clash = False
    for i, its_tag in enumerate(tag(requests, keys[rows]).tolist()):
        place, row, joined = expected.get(its_tag, (i, int(rows[i]), 0))
        clash = clash or row != rows[i]
        expected[its_tag] = (place, row, joined | int(bits[i]))
    found = once(Proposals(requests, rows, bits, scores), keys, CHOOSING)
    assert (found is None) == clash
    if found is not None:
        tags = sorted(expected)
        assert found.tags.tolist() == tags
        assert list(zip(found.rows.tolist(), found.sources.tolist(), strict=True)) == [expected[t][1:] for t in tags]
        if scores is not None:
            assert found.scores.tolist() == [scores[expected[t][0]] for t in tags]


@pytest.mark.parametrize("engine", ["flat", "hnsw", "hnsw_int8"])
def test_searches_answer_as_numpy_does(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, alone and in batches, among dead rows, with what is excluded and several sources of an item."""
    rng = np.random.default_rng(3)
    shard = make_shard(400, engine)
    batches = []
    for size in (1, 1, 1, 4, 9):
        vectors = unit_rows(rng.standard_normal((size, 3, D)).reshape(-1, D)).reshape(size, 3, D)
        batch = []
        for b, (taste, liked, asked) in enumerate(vectors):
            wanted = [(TASTE, "similar", 20, taste), (BECAUSE, "because_you_liked", 15, liked), (QUERY, None, 0, asked)]
            excluded = [f"i{i}" for i in rng.integers(0, 400, 30 * (b % 2))]
            batch.append(Asked(wanted, {"popular": 5}, exclude=excluded))
        batches.append(batch)
    ours = [wire.encode(search(shard, query_of(batch))) for batch in batches]
    monkeypatch.setattr(neighbours, "first", lambda *_: None)
    monkeypatch.setattr(searching, "once", lambda *_: None)
    assert ours == [wire.encode(search(shard, query_of(batch))) for batch in batches]


def test_arrays_that_do_not_fit_are_refused() -> None:
    """Nothing is read from beside an array."""
    keys, rows, one = np.arange(5, dtype=np.uint64), np.array([[0, 5]]), np.array([1])
    with pytest.raises(IndexError):
        first(Lines(one * 0, one + 1, one, rows, None), keys, ALL, keys[:0], CHOOSING)
    with pytest.raises(IndexError):
        first(Lines(one * 0, one + 1, one, rows, None), np.arange(9, dtype=np.uint64), keys > 0, keys[:0], CHOOSING)
    with pytest.raises(ValueError, match="do not fit"):
        first(Lines(one * 0, np.array([1, 1]), one, rows, None), keys, ALL, keys[:0], CHOOSING)
    for wrong in (-1, 5):
        with pytest.raises(IndexError):
            once(Proposals(np.zeros(2, np.int64), np.array([0, wrong]), np.ones(2, np.int64)), keys, CHOOSING)
    with pytest.raises(ValueError, match="do not fit"):
        once(Proposals(np.zeros(1, np.int64), np.array([0, 1]), np.ones(2, np.int64)), keys, CHOOSING)


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_bits_of_masks_are_those_that_numpy_packs(seed: int, n: int, filters: int) -> None:
    """Of masks that know more rows than are looked at, and not as many each."""
    rng = np.random.default_rng(seed)
    masks = tuple(rng.random(50 + rng.integers(9)) < 0.4 for _ in range(filters))
    rows = rng.integers(0, 50, n)
    columns = np.stack([mask[rows] for mask in masks], axis=1)
    bits = matching(masks, rows, CHOOSING)
    np.testing.assert_array_equal(bits, np.packbits(columns, axis=1, bitorder="little"))


def test_a_row_that_a_mask_does_not_have_is_refused() -> None:
    mask = np.ones(5, bool)
    for row in (-1, 4):
        with pytest.raises(IndexError, match="a mask does not have"):
            matching((mask, mask[:4]), np.array([0, row]), CHOOSING)
    assert CHOOSING is not None
    with pytest.raises(ValueError, match="do not fit"):
        CHOOSING.match((mask,), np.array([0]), np.zeros(2, np.uint8))
