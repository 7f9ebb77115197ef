"""Given rows by their exact scores: the nearest of them, and lines of them put in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys.datatypes import Floats, Rows
from recsys.index.base import best
from recsys.shard.item_table import ItemTable

_BLOCK = 1 << 16
"""Rows among which the best are chosen at a time, so that memory stays bounded however many match."""
_COPIED = 1 << 18
"""Components that are copied at a time: 1 MiB, which a core's cache holds until they are multiplied."""
_ORDERED = 1 << 14
"""Vectors that are copied at a time to put lines in order: 24 MiB at 384 dimensions."""


def exact(
    items: ItemTable,
    queries: Floats,
    rows: Rows,
    k: int,
    block: int = _BLOCK,
    *,
    truth: bool = False,
    rest: Callable[[], None] | None = None,
) -> tuple[Rows, Floats]:
    """(m, w) the k best of the rows for each of the (m, d) queries, and their scores, best first; w < k where there are
    not k rows. `block`: rows among which the best are chosen at a time; `truth`: by the vectors that the version
    was built of, see `ItemTable.truth`; `rest`: called after each step of about a millisecond.
    """
    vectors = items.truth if truth else items.vectors
    top_rows = np.zeros((len(queries), 0), np.int64)
    top_scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        part_rows, scores = best(_scores(vectors, queries, part, rest), part, min(k, len(part)))
        top_rows, top_scores = np.hstack([top_rows, part_rows]), np.hstack([top_scores, scores])
    order = np.argsort(-top_scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(top_rows, order, 1), np.take_along_axis(top_scores, order, 1)


def _scores(vectors: Callable[[Rows], Floats], queries: Floats, rows: Rows, rest: Callable[[], None] | None) -> Floats:
    """(m, n) inner products of m queries and n rows."""
    scores = np.empty((len(queries), len(rows)), np.float32)
    step = max(_COPIED // queries.shape[1], 1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        scores[:, part] = queries @ vectors(rows[part]).T
        if rest is not None:
            rest()
    return scores


def by_likeness(items: ItemTable, queries: Floats, rows: Rows) -> Rows:
    """(m, w) rows by their exact scores: where rows share a node, the engine may not know which of them is better."""
    ordered = rows.copy()
    lines = max(_ORDERED // rows.shape[1], 1)
    for start in range(0, len(rows), lines):
        part = ordered[start : start + lines]
        vectors = items.vectors(np.maximum(part, 0).ravel()).reshape(*part.shape, -1)
        scores = np.where(part < 0, -np.inf, np.einsum("mwd,md->mw", vectors, queries[start : start + lines]))
        part[:] = np.take_along_axis(part, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return ordered
