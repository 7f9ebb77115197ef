"""What settings are compared by: queries in groups, some of them with filters, and their exact answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.index.base import best
from recsys.shard.recall import CANDIDATES
from recsys.tuning.probe_queries import ProbeQueries

K = 10
"""Neighbours that count."""
_BLOCK = 1 << 14
"""Vectors scored at a time: 25 MB at 384 dimensions."""
_TIE = np.float32(1e-6)
"""Scores that differ by less, relative to the larger of 1 and the score, are equal: float32 sums differ by order."""


@dataclass(frozen=True, slots=True)
class Questions:
    """m queries, the groups mixed: `vectors` is (m, width) float32, `filters[j]` None where nothing is filtered, and
    `groups[j]` the kind of query, or the shape of the filter.
    """

    vectors: Floats
    filters: tuple[Filter | None, ...]
    groups: tuple[str, ...]

    @classmethod
    def of(
        cls, probes: ProbeQueries, shapes: Mapping[str, Sequence[Filter]], filtered: int, seed: int = 7
    ) -> Questions:
        """All queries of `probes`, and of each shape `filtered` queries of any kind with its filters in turn."""
        every = np.concatenate(list(probes.kinds.values()))
        rng = np.random.default_rng(seed)
        vectors, filters, groups = [every], [None] * len(every), []
        for kind, queries in probes.kinds.items():
            groups += [kind] * len(queries)
        given: list[Filter | None] = list(filters)
        for shape, some in shapes.items():
            vectors.append(every[rng.integers(0, len(every), filtered)])
            given += [some[i % len(some)] for i in range(filtered)]
            groups += [f"filter: {shape}"] * filtered
        order = rng.permutation(len(groups)).tolist()
        return cls(
            np.concatenate(vectors)[order],
            tuple(given[i] for i in order),
            tuple(groups[i] for i in order),
        )

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True, slots=True)
class Answers:
    """The exact answers to m questions: distinct vectors among the ten nearest items that match.

    `wanted` is (m,) int64, how many there are; `least` (m,) float32 the score of the last of them; `names` (n,) int64,
    by item, the same for equal vectors.
    """

    wanted: Rows
    least: Floats
    names: Rows

    @classmethod
    def of(cls, questions: Questions, vectors: Floats, matches: Mapping[Filter, Rows], names: Rows) -> Answers:
        """`vectors` are the (n, width) items' in the order of `names`; `matches`: rows of each filter."""
        m = len(questions)
        wanted, least = np.zeros(m, np.int64), np.full(m, np.inf, np.float32)
        for given in dict.fromkeys(questions.filters):
            places = np.flatnonzero([one == given for one in questions.filters])
            rows = np.arange(len(vectors)) if given is None else matches[given]
            nearest, scores = _nearest(questions.vectors[places], vectors, rows)
            for place, padded, line_scores in zip(places.tolist(), nearest, scores, strict=True):
                line = padded[padded >= 0]
                first = np.sort(np.unique(names[line], return_index=True)[1])[:K]
                if len(first):
                    wanted[place], least[place] = len(first), line_scores[first[-1]]
        return cls(wanted, least, names)

    def share(self, place: int, rows: Rows, scores: Floats) -> float:
        """Of question `place` the share of the wanted vectors among the first ten different ones of an answer; NaN
        where none is wanted.

        `rows` (w,): the items of the answer, best first, and their exact `scores`. A vector as near as the last wanted
        one is as good as it.
        """
        wanted = int(self.wanted[place])
        if not wanted:
            return float("nan")
        first = np.sort(np.unique(self.names[rows], return_index=True)[1])[:K]
        least = self.least[place] - _TIE * max(abs(self.least[place]), 1)
        return min(wanted, int(np.count_nonzero(scores[first] >= least))) / wanted


def _nearest(queries: Floats, vectors: Floats, rows: Rows) -> tuple[Rows, Floats]:
    """(m, w) the nearest of the rows, best first, as many as a request asks for, and their scores."""
    top, top_scores = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        some, scores = best(queries @ vectors[part].T, part, CANDIDATES)
        top, top_scores = np.hstack([top, some]), np.hstack([top_scores, scores])
        order = np.argsort(-top_scores, axis=1, kind="stable")[:, :CANDIDATES]
        top, top_scores = np.take_along_axis(top, order, 1), np.take_along_axis(top_scores, order, 1)
    return top, top_scores


def numbered(names: Keys) -> Rows:
    """(n,) int64, the same number for the same name."""
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
