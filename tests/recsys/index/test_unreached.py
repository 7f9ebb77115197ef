"""An item that just came is found by its own vector, however unlike all others it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.index import unreached
from recsys.index.base import NO_ROW, engine
from tests.support.world import unit_rows

DIMENSION = 64
WALKED = ["hnsw", "hnsw_int8", "faiss:HNSW16"]
ITEMS, STRANGERS = 1200, 60


def clustered(rng: np.random.Generator) -> np.ndarray:
    """Forty close groups in half of the dimensions: where strangers point, there is nothing."""
    centres = rng.standard_normal((40, DIMENSION // 2))
    near = centres[rng.integers(0, 40, ITEMS)] + 0.2 * rng.standard_normal((ITEMS, DIMENSION // 2))
    return unit_rows(np.hstack([near, 0.05 * rng.standard_normal((ITEMS, DIMENSION // 2))]))


def strangers(rng: np.random.Generator) -> np.ndarray:
    return unit_rows(
        np.hstack([np.zeros((STRANGERS, DIMENSION // 2)), rng.standard_normal((STRANGERS, DIMENSION // 2))])
    )


def grown(name: str):
    """An index of 1,200 items to which 60 strangers come, one at a time; and the strangers' vectors."""
    rng, spec = np.random.default_rng(0), IndexSpec.of(name)
    index = engine(spec).create(spec, DIMENSION)
    index.tune(ShardTuning(ef_search=64))
    index.add(np.arange(ITEMS), clustered(rng))  # on one thread: on two the links differ from run to run
    come = strangers(rng)
    for row, vector in enumerate(come, ITEMS):
        index.add(np.array([row]), vector[None])
        assert index.search(vector[None], 1)[0][0, 0] == row
    return index, come


@pytest.mark.parametrize("name", WALKED)
def test_strangers_are_found_as_soon_as_they_come(name):
    """Also with the next ones behind them, in batches, and among the nearest of a query between two of them; and once
    more when they have gone and come again.
    """
    index, come = grown(name)
    rows, scores = index.search(come, 10)
    assert rows[:, 0].tolist() == list(range(ITEMS, ITEMS + STRANGERS))
    assert all(len(set(line)) == 10 for line in rows.tolist())
    assert (np.diff(scores, axis=1) <= 0).all()
    between = unit_rows(come[:1] + come[1:2])
    assert set(index.search(between, 2)[0][0].tolist()) == {ITEMS, ITEMS + 1}
    go_and_come_again(index, come)


def test_an_allow_list_has_the_strangers_that_it_allows():
    """What no walk leads to is found among what is allowed where it is allowed itself, and not elsewhere."""
    index, come = grown("hnsw_int8")
    assert len(index.graph.unreached)
    mask = np.zeros(ITEMS + STRANGERS, bool)
    mask[ITEMS::2] = True
    rows = index.search_allowed(come, 1, 64, index.allowed(mask))[0][:, 0]
    assert rows[::2].tolist() == list(range(ITEMS, ITEMS + STRANGERS, 2))
    assert mask[rows].all()


def test_queries_like_a_stranger_find_it_where_a_walk_alone_loses_it():
    """Asked for by a vector at an angle to its own as it comes: the walk misses one in ten at least; with those that
    are scored in every search it is less than half of these.
    """
    rng, spec = np.random.default_rng(0), IndexSpec.of("hnsw")
    index, alone, scored = engine(spec).create(spec, DIMENSION), 0, 0
    index.tune(ShardTuning(ef_search=64))
    index.add(np.arange(ITEMS), clustered(rng))
    for row, vector in enumerate(strangers(rng), ITEMS):
        index.add(np.array([row]), vector[None])
        like = unit_rows(vector[None] + 0.05 * rng.standard_normal((1, DIMENSION)))
        alone += int(index.graph.walked.search(like, 1)[0][0, 0] != row)  # nodes are numbered as rows here
        scored += int(index.search(like, 1)[0][0, 0] != row)
    assert alone >= STRANGERS // 10
    assert scored < alone / 2


def test_strangers_that_later_links_lead_to_leave_the_side(monkeypatch):
    """After some more of them the oldest are searched for again; those that a walk finds now are scored no more."""
    monkeypatch.setattr(unreached, "AGAIN", 12)
    rng, spec = np.random.default_rng(0), IndexSpec.of("hnsw")
    index = engine(spec).create(spec, DIMENSION)
    index.tune(ShardTuning(ef_search=64))
    index.add(np.arange(ITEMS), clustered(rng))
    come, beside = strangers(rng), [set[int]()]
    for row, vector in enumerate(come, ITEMS):
        index.add(np.array([row]), vector[None])
        beside.append(set(index.graph.unreached.tolist()))
    left = set().union(*(before - after for before, after in itertools.pairwise(beside)))
    assert len(left) > 3
    assert beside[-1]
    assert not left & beside[-1]
    rows = np.array(sorted(left))
    walked = index.graph.walked.search(come[rows - ITEMS], 1)[0][:, 0]  # nodes are numbered as rows here
    assert walked.tolist() == rows.tolist()
    assert index.search(come, 1)[0][:, 0].tolist() == list(range(ITEMS, ITEMS + STRANGERS))


def test_items_like_others_stay_out_of_the_side():
    """They mostly are like others, and a search is not to grow longer with each of them."""
    spec, vectors = IndexSpec.of("hnsw"), clustered(np.random.default_rng(0))
    index = engine(spec).create(spec, DIMENSION)
    index.add(np.arange(900), vectors[:900], 2)
    for row in range(900, ITEMS):
        index.add(np.array([row]), vectors[[row]])
    assert len(index.graph.unreached) < 15


def go_and_come_again(index, come):
    """Hidden ones are not found, and an equal vector brings them back."""
    index.remove(np.arange(ITEMS, ITEMS + STRANGERS))
    rows, _ = index.search(come, 10)
    assert (rows < ITEMS).all()
    assert (rows != NO_ROW).all()
    index.add(np.arange(9000, 9000 + STRANGERS), come)
    assert index.search(come, 1)[0][:, 0].tolist() == list(range(9000, 9000 + STRANGERS))


@pytest.mark.parametrize("name", WALKED)
def test_replicas_keep_the_same_strangers(name, tmp_path):
    """Whatever `ef_search` each of them is tuned to meanwhile."""
    spec, rng = IndexSpec.of(name), np.random.default_rng(0)
    vectors, come = clustered(rng), strangers(rng)
    built = engine(spec).create(spec, DIMENSION)
    built.add(np.arange(ITEMS), vectors, 1)
    built.save(tmp_path / "index.bin")
    kept = []
    for ef in (16, 400):
        index = engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)
        for row, vector in enumerate(come, ITEMS):
            index.tune(ShardTuning(ef_search=ef))
            index.add(np.array([row]), vector[None])
        kept.append(index.graph.unreached.tolist())
    assert kept[0] == kept[1]
