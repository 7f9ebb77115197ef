"""The trained side of `make compare`: what it learns from, what it serves, and what it is compared with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from deployments.machine.serve_config import ServeConfig
from load_tests.comparison import results
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.contenders import contenders
from load_tests.comparison.interactions import People
from load_tests.comparison.workload import Workload, item_id, user_id
from load_tests.comparison.wrk import Measured

WORK = Workload(items=2000, dimension=8, users=50, clusters=10)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(WORK, tmp_path, ROOT / "configs" / "benchmark.yaml")


def test_likes_are_shaped_as_real_ones() -> None:
    """Some items are liked often and most never, people stay near home, each person's likes go on in time."""
    people = People(WORK, others=200)
    likes = people.likes
    assert set(likes.people.tolist()) == set(range(250))
    assert np.bincount(likes.people).min() >= 8
    same = np.diff(likes.people) == 0
    assert (np.diff(likes.ages)[same] < 0).all()
    counts = np.sort(np.bincount(likes.items, minlength=WORK.items))[::-1]
    assert counts[:100].sum() > 0.3 * counts.sum()
    assert np.count_nonzero(counts) < WORK.items / 3
    clusters = WORK.own[likes.items]
    home = [Counter(clusters[likes.people == person].tolist()).most_common(2) for person in range(250)]
    assert sum(n for two in home for _, n in two) > 0.7 * len(clusters)


def test_the_same_seed_gives_the_same_likes_and_those_asked_for_have_events() -> None:
    people = People(WORK, others=30)
    np.testing.assert_array_equal(people.likes.items, People(WORK, others=30).likes.items)
    bodies = list(people.events(1_000_000_000.0, at_once=100))
    events = [event for body in bodies for event in body]
    assert max(map(len, bodies)) == 100
    assert {event["user_id"] for event in events} == {user_id(n) for n in range(WORK.users)}
    assert {event["item_id"] for event in events} <= {item_id(n) for n in range(WORK.items)}
    assert len({event["event_id"] for event in events}) == len(events)
    assert max(event["timestamp"] for event in events) < 1_000_000_000
    assert len(people.attributes()) == len(people.ages()) == WORK.items


def test_the_trained_side_has_what_it_learned_rules_and_a_store_of_its_own(bench: Bench) -> None:
    """And apart from that what the bare one has: sources, candidates, number of answers."""
    [bare, trained] = contenders(bench, ["recsys", "trained"])
    assert bare.target == trained.target
    first, second = (ServeConfig.of(one.settings()) for one in (bare, trained))
    assert first.platform.data_dir != second.platform.data_dir
    assert first.platform.redis_prefix != second.platform.redis_prefix
    home, learned = first.serving.scenarios["home"], second.serving.scenarios["home"]
    assert (home.learned, len(home.rules)) == (False, 0)
    assert (learned.learned, [rule["kind"] for rule in learned.rules]) == (True, ["boost", "bury", "pin"])
    assert home.sources == learned.sources
    assert first.serving.slate_log.enabled
    assert second.serving.slate_log.enabled


def test_ratios_of_the_trained_side() -> None:
    def runs(rps: float, ms: float) -> list[Measured]:
        return [Measured(1, rps / 2, ms, ms, 0), Measured(32, rps, 4 * ms, 8 * ms, 0)]

    both = results.ratios({"recsys": runs(1000, 1.0), "trained": runs(800, 1.5)}, None)
    assert (both["trained_vs_bare"], both["p50_trained_vs_bare"], both["p99_trained_vs_bare"]) == (0.8, 1.5, 1.5)
    assert results.ratios({"recsys": runs(1000, 1.0)}, None)["trained_vs_bare"] is None
