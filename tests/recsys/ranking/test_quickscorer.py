"""Trees give what LightGBM gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from recsys.errors import VersionError
from recsys.ranking import quickscorer
from recsys.ranking.quickscorer import Trees
from recsys.ranking.tree_ranker import library

RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((1500, 5)).astype(np.float32)
TABLE[:, 3] = np.round(TABLE[:, 3])  # few values, and many rows exactly on a threshold's side of them
LIKED = TABLE[:, 0] + TABLE[:, 1] * TABLE[:, 3] + RNG.standard_normal(1500) > 0.5


def model(trees: int, **settings: object) -> Any:
    lightgbm = library()
    known = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    return lightgbm.train(known | settings, lightgbm.Dataset(TABLE, LIKED.astype(int)), trees)


@pytest.mark.parametrize("trees", [1, 40])
@pytest.mark.parametrize("leaves", [2, 15, 16])
def test_scores_are_lightgbms(trees, leaves):
    """For more rows than a piece has, for one, and for none."""
    made = model(trees, num_leaves=leaves)
    ours = Trees(made.dump_model())
    for rows in (1500, 257, 1, 0):
        expected = made.predict(TABLE[:rows], raw_score=True) if rows else np.zeros(0)
        np.testing.assert_allclose(ours.score(TABLE[:rows]), expected, atol=1e-5)


def thresholds(nodes: Iterable[dict[str, Any]]) -> set[float]:
    """Of these nodes and all below them."""
    inner = [node for node in nodes if "threshold" in node]
    below = [node[side] for node in inner for side in ("left_child", "right_child")]
    return {float(node["threshold"]) for node in inner} | (thresholds(below) if below else set())


def test_values_at_and_around_every_threshold_fall_on_lightgbms_side():
    """Thresholds are float64, values float32: the nearest float32 on either side, and the rounded one."""
    made = model(20)
    edges = sorted(thresholds(tree["tree_structure"] for tree in made.dump_model()["tree_info"]))
    near = np.array([e for e in edges if abs(e) > 1e-30], np.float32)  # LightGBM reads 1e-35 as 0
    assert len(near) > 100
    values = np.concatenate(
        [[0.0], np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9))]
    ).astype(np.float32)
    for feature in range(5):
        rows = np.repeat(TABLE[7:8], len(values), axis=0)
        rows[:, feature] = values
        np.testing.assert_allclose(Trees(made.dump_model()).score(rows), made.predict(rows, raw_score=True), atol=1e-5)


@pytest.mark.skipif(quickscorer.SCORING is None, reason="recsys/ranking/scoring.c was not compiled at install")
@pytest.mark.parametrize("trees", [1, 7, 8, 25, 127, 128, 129, 200, 300])
def test_compiled_scores_are_those_of_numpy(trees: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, however many trees are added up, with the instructions of any processor."""
    ours = Trees(model(trees).dump_model())
    tables = [TABLE, TABLE[:1], TABLE[:17], TABLE[:0], TABLE[:, ::-1][:, ::-1]]
    compiled = []
    for instructions in range(quickscorer.FASTEST + 1):
        monkeypatch.setattr(quickscorer, "FASTEST", instructions)
        compiled.append([ours.score(table) for table in tables])
    monkeypatch.setattr(quickscorer, "SCORING", None)
    expected = [ours.score(table) for table in tables]
    for scores in compiled:
        for one, other in zip(scores, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("instructions", [None, *range(quickscorer.FASTEST + 1)])
def test_kept_sums_are_those_that_would_be_computed(instructions: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, of rows between the same thresholds as before, of others, and of several that share a place;
    by numpy (None) and with the instructions of any processor. Half of the values are one of few, at thresholds.
    """
    if instructions is None:
        monkeypatch.setattr(quickscorer, "SCORING", None)
    elif quickscorer.SCORING is None:
        pytest.skip("recsys/ranking/scoring.c was not compiled at install")
    else:
        monkeypatch.setattr(quickscorer, "FASTEST", instructions)
    ours = Trees(model(60).dump_model())
    rng, kept = np.random.default_rng(2), ours.room(40)
    few = np.array([-1e30, -1.5, -0.25, 0.0, 0.5, 2.5, 1e30], np.float32)
    rows = TABLE[:30].copy()
    for _ in range(20):
        moved = rng.random(rows.shape) < rng.choice([0.0, 0.01, 0.5])
        rows[moved] = np.where(rng.random(moved.sum()) < 0.5, rng.choice(few, moved.sum()), rng.choice(TABLE[:, 0]))
        at = rng.integers(0, 40, 30) if rng.random() < 0.2 else np.arange(30)
        to = rng.permutation(50)[:30]
        before = rng.standard_normal(50).astype(np.float32)
        expected, corrected = before.copy(), before.copy()
        expected[to] += ours.score(rows)
        ours.correct(rows, kept, at, corrected, to)
        assert corrected.tobytes() == expected.tobytes()


@pytest.mark.skipif(quickscorer.SCORING is None, reason="recsys/ranking/scoring.c was not compiled at install")
def test_what_does_not_fit_what_is_kept_is_refused() -> None:
    ours, rows, scores = Trees(model(20).dump_model()), TABLE[:4].copy(), np.zeros(4, np.float32)
    kept, four = ours.room(4), np.arange(4)
    for room, at, to in (
        (ours.room(3), four, four),
        (kept, four + 1, four),
        (kept, four, four - 1),
        (kept, four[:3], four),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            ours.correct(rows, room, at, scores, to)


@pytest.mark.skipif(quickscorer.SCORING is None, reason="recsys/ranking/scoring.c was not compiled at install")
def test_a_table_that_lacks_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Trees(model(20).dump_model()).score(TABLE[:, :2])


def test_a_tree_without_a_split_is_its_value():
    made = model(3, min_data_in_leaf=1500)
    np.testing.assert_allclose(Trees(made.dump_model()).score(TABLE[:4]), made.predict(TABLE[:4], raw_score=True))


def test_what_the_masks_cannot_hold_is_refused():
    lightgbm = library()
    with pytest.raises(VersionError, match="over 16 leaves"):
        Trees(model(2, num_leaves=40).dump_model())
    data = lightgbm.Dataset(np.abs(np.round(TABLE)), LIKED.astype(int), categorical_feature=[3])
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "max_cat_to_onehot": 1}
    other = lightgbm.train(settings, data, 20)
    if "==" not in str(other.dump_model()):
        pytest.fail("no tree splits by a category: the test shows nothing")
    with pytest.raises(VersionError, match="by categories"):
        Trees(other.dump_model())
