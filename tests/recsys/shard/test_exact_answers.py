"""What measurements of recall go by, for many queries at once: what a plain reading gives for each of them."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.shard.candidates import QUERY
from recsys.shard.probes import sample_tastes
from recsys.shard.recall import TIE, Exact, of_items, served
from recsys.shard.shard import Shard
from recsys.shard.vector_names import vector_names
from tests.support.small_shards import D, make_shard
from tests.support.world import unit_rows


def best_of(shards: list[Shard], query: np.ndarray, asked: int, k: int) -> list[float]:
    """Scores of the k best distinct vectors among as many items as are asked for."""
    rows = np.concatenate([shard.items.vectors(shard.items.live_rows()) for shard in shards])
    scores: dict[int, float] = {}
    for row in np.argsort(-(rows @ query), kind="stable")[:asked]:
        scores.setdefault(int(vector_names(rows[row : row + 1])[0]), float(rows[row] @ query))
    return list(scores.values())[:k]


@pytest.mark.parametrize(("sizes", "k"), [((0,), 10), ((7,), 10), ((400,), 10), ((300, 150), 3)])
def test_exact_answers_are_those_of_each_query(sizes, k):
    """How many vectors are wanted, how near the last of them is, and how many of them a poor walk finds."""
    shards = [make_shard(n, exact_below=0, ef_search=k, seed=seed) for seed, n in enumerate(sizes)]
    rng = np.random.default_rng(4)
    queries = unit_rows(rng.standard_normal((40, D))).astype(np.float32)
    asked = rng.integers(k, 60, len(queries))
    exact = Exact.of(shards, queries, k, asked=asked)
    found = exact.found()
    candidates = served(shards, queries, asked)
    names, scores = of_items(shards, candidates, queries)
    for q, query in enumerate(queries):
        best = best_of(shards, query, int(asked[q]), k)
        assert exact.wanted[q] == len(best)
        least = best[-1] if best else np.inf
        assert exact.least[q] == pytest.approx(least, abs=1e-6)
        mine = slice(candidates.offsets[q], candidates.offsets[q + 1])
        near = scores[mine] >= exact.least[q] - np.float32(TIE)
        assert found[q] == min(len(best), len(set(names[mine][near].tolist())))
        assert (candidates.likeness[mine, QUERY] <= 1 + 1e-6).all()
    assert exact.recall() == (found.sum() / exact.wanted.sum() if any(sizes) else 1.0)


@pytest.mark.parametrize("among", [None, np.arange(3, 40, 3)])
def test_tastes_are_means_of_what_is_drawn_for_each(among):
    """To the bit, one after another."""
    added = np.random.default_rng(0).standard_normal((50, D)).astype(np.float32)
    rng, rows = np.random.default_rng(9), np.arange(50) if among is None else among
    sizes = rng.integers(1, 6, 200)
    plain = [added[rows[rng.integers(0, len(rows), size)]].mean(axis=0) for size in sizes]
    assert np.array_equal(sample_tastes(added, 200, 9, among), np.stack(plain))
