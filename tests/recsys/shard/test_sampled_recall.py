"""Recall among a sample of rows is an estimate of the recall among all."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.shard import drift, live_recall
from recsys.shard.drift import measure
from recsys.shard.live_recall import K, LiveRecall
from recsys.shard.probes import nearest_query, texts_of
from recsys.shard.recall import Exact
from recsys.shard.sampled_recall import sampled_rows, shares
from tests.support.small_shards import standing_shard

pytestmark = pytest.mark.usefixtures("seeded")


def test_a_sample_has_runs_of_rows_and_each_row_as_often():
    """Ascending, no row twice, as many as were asked for but for a run; over many samples no row stands out."""
    rows, counts = np.arange(10_100) * 3, np.zeros(10_100)
    for seed in range(400):
        some = sampled_rows(rows, 2048, seed)
        assert 2048 - 256 <= len(some) <= 2048
        assert (np.diff(some) > 0).all()
        counts[some // 3] += 1
    assert counts.min() > 40
    assert counts.max() < 130
    assert sampled_rows(rows, 20_000, 1) is rows


@pytest.mark.parametrize("ef", [10, 20, 200])
def test_shares_of_samples_are_on_average_what_all_rows_show(ef):
    """Of a poor graph, a better one and a good one; with all rows in the sample a bound that errs to the safe side."""
    shard = standing_shard(3000, ef_search=ef)
    queries = texts_of(shard, 60)
    asked = np.full(len(queries), 50)
    truth = Exact.of([shard], queries, K, asked=asked).recall()
    rows = shard.items.live_rows()
    whole = shares(shard, queries, rows, K, asked)
    sampled = [shares(shard, queries, sampled_rows(rows, 1024, seed), K, asked).mean() for seed in range(25)]
    assert 2 - 1 / truth - 0.06 <= whole.mean() <= truth + 1e-9
    assert np.mean(sampled) == pytest.approx(whole.mean(), abs=0.03)


def test_drift_and_live_recall_of_a_large_shard(monkeypatch):
    """Both sample, and tell a shard that is served well from one whose searches find little."""
    monkeypatch.setattr(drift, "POOL", 1024)
    monkeypatch.setattr(live_recall, "MOST_ROWS", 1024)
    ratios = {}
    for ef in (10, 400):
        shard, recall = standing_shard(3000, ef_search=ef), LiveRecall()
        for vector in texts_of(shard, 120):
            recall.offer(nearest_query("v", vector[None], 10))
            recall.measure(shard)
        ratios[ef] = recall.ratio, measure(shard).recall_at_10
    assert min(ratios[400]) > 0.97
    assert max(ratios[10]) < min(ratios[400])
