"""What is chosen has to prove itself with queries that did not choose it. Here all measurements are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.tuning.halving import Choice, Halving, Target
from recsys.tuning.questions import Questions
from recsys.tuning.rung import Catalogue
from recsys.tuning.settings import settings
from recsys.tuning.trial import Exam, Measurement, Point
from tests.support.world import unit_rows

D, ITEMS = 4, 120
FOUND, LOST = np.full(20, 0.96, np.float32), np.full(20, 0.5, np.float32)
UNEVEN = np.array([1.0, 0.84] * 10, np.float32)
"""A mean of 0.92, which is not sure to be over 0.9: at least 0.89."""


@dataclass
class Engine:
    """What graphs of m 8 find, which are the cheapest, and those of 16. `first` and `others`: by m and effort, the
    recalls of a group of queries that choose and of those that verify; what is not there finds half.
    """

    first: dict[tuple[int, int], np.ndarray]
    others: dict[tuple[int, int], np.ndarray]
    slow: frozenset[tuple[int, bool]] = frozenset()
    """m, and whether the queries verify: where p99 is 9 ms in place of 1."""

    def __post_init__(self) -> None:
        self.verified: list[tuple[int, list[int]]] = []
        """m and efforts of what the other queries were asked of."""

    def choice(self, folder: Path, target: Target) -> Choice | None:
        vectors = unit_rows(np.random.default_rng(0).standard_normal((ITEMS, D))).astype(np.float32)
        every = Catalogue([Item(f"i{n}") for n in range(ITEMS)], vectors, (np.arange(ITEMS),), {})
        asked = [Questions(vectors[n : n + 1], (None,), ("texts",)) for n in range(2)]

        def measure(exam: Exam, spec: IndexSpec, efforts: Sequence[int]) -> Measurement:
            other, m = exam.questions is asked[1], getattr(spec, "m", 0)
            if other:
                self.verified.append((m, list(efforts)))
            table, ms = self.others if other else self.first, 9.0 if (m, other) in self.slow else 1.0
            exact = spec.originals == "float32"
            points = [
                Point(ef, {"texts": FOUND, "tastes": table.get((m, ef), LOST) if exact else LOST}, 10.0 * m, ms, ms)
                for ef in efforts
            ]
            return Measurement(tuple(points), 1000 * m, 2000 * m)

        work = Halving(every, target, ShardTuning(), folder, lambda other, _: asked[other], measure=measure)
        return work.run(settings(["hnsw"], ITEMS, D)).choice


TARGET = Target(0.9)


def test_what_only_the_first_queries_find_is_not_chosen(tmp_path):
    """The cheapest has luck with the queries that choose. The choice is told with what the others found."""
    better = np.full(20, 0.95, np.float32)
    made = Engine({(8, 64): FOUND, (16, 64): FOUND}, {(16, 64): better})
    choice = made.choice(tmp_path, TARGET)
    assert choice is not None
    assert (choice.trial.spec.m, choice.point.ef_search) == (16, 64)
    assert choice.intervals["tastes"].mean == pytest.approx(0.95)
    assert choice.point in choice.trial.measurement.points
    assert [m for m, _ in made.verified] == [8, 16]


def test_every_group_has_to_find_enough_for_sure(tmp_path):
    """A mean over the target that may be by chance does not do: the next effort is taken, which costs more."""
    made = Engine({(8, 64): FOUND}, {(8, 64): UNEVEN, (8, 96): FOUND})
    choice = made.choice(tmp_path, TARGET)
    assert choice is not None
    assert (choice.trial.spec.m, choice.point.ef_search) == (8, 96)


def test_efforts_that_found_too_little_before_are_not_asked_again(tmp_path):
    """From the one that found enough on; what a smaller one finds now would be luck."""
    made = Engine({(8, 96): FOUND}, {(8, 64): FOUND, (8, 96): FOUND})
    choice = made.choice(tmp_path, TARGET)
    assert choice is not None
    assert choice.point.ef_search == 96
    [(_, efforts)] = made.verified
    assert efforts == [effort for effort in IndexSpec.of("hnsw").efforts if effort >= 96]


def test_what_turns_out_too_slow_is_not_chosen(tmp_path):
    both = {(8, 64): FOUND, (16, 64): FOUND}
    made = Engine(both, both, frozenset({(8, True)}))
    choice = made.choice(tmp_path, Target(0.9, p99_ms=5.0))
    assert choice is not None
    assert choice.trial.spec.m == 16
    assert [m for m, _ in made.verified] == [8, 16]


def test_nothing_is_asked_of_what_was_too_slow_before(tmp_path):
    """Though the other queries would be answered in time, for which chance would have to be thanked."""
    made = Engine({(8, 64): FOUND}, {(8, 64): FOUND}, frozenset({(8, False)}))
    assert made.choice(tmp_path, Target(0.9, p99_ms=5.0)) is None
    assert made.verified == []


def test_what_no_setting_finds_for_sure_leaves_no_choice(tmp_path):
    made = Engine({(8, 64): FOUND, (16, 64): FOUND}, {(16, 64): UNEVEN})
    assert made.choice(tmp_path, TARGET) is None
