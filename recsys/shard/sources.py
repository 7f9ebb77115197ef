"""The sources of candidates: what a scenario may ask a shard for. docs/contributing.md says how one is added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Rows

if TYPE_CHECKING:  # reading a config file takes the names of the sources alone
    from recsys.shard.item_table import ItemTable

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """A row of the table."""

    says: str
    """What its candidates are."""
    k: int = 0
    """Candidates a shard gives where a scenario names no sources; 0: no scenario can name it."""
    values: Callable[[ItemTable, Rows], Values] | None = None
    """(n,) float64 by which n rows are ranked, more is better; NaN leaves a row out. None: its candidates are not read
    down a column but are those nearest to a vector, see `ranking/batch_query.py`."""
    fading: bool = False
    """Whether rows whose value is under `ShardQuery.trend_floor` are left out."""


def likes(items: ItemTable, rows: Rows) -> Values:
    return items.counts.view[rows]


def trends(items: ItemTable, rows: Rows) -> Values:
    """log2 of the likes that are left after decay."""
    left = items.trends.view[rows]
    return np.where(left > -np.inf, left, np.nan)


def ages(items: ItemTable, rows: Rows) -> Values:
    """Unix seconds at which the items were created."""
    return items.created_at.view[rows]


SOURCES = {
    "similar": CandidateSource("nearest to what was asked for, else to the user's taste", 50),
    "because_you_liked": CandidateSource("nearest to the item that the user liked last", 20),
    "trending": CandidateSource("most liked lately", 20, trends, fading=True),
    "popular": CandidateSource("most liked", 30, likes),
    "recent": CandidateSource("created last", 10, ages),
    "asked": CandidateSource("named by the request, to be ranked"),
    "new": CandidateSource("with hardly any likes, nearest to the user's taste; for `explore`", 10),
    "promoted": CandidateSource("matches of a rule that pins or promotes items"),
}
"""By name. A candidate carries the bits of all sources that proposed it; the first of them names it in the answer."""

BITS = {name: 1 << place for place, name in enumerate(SOURCES)}
"""Source -> its bit."""
COLUMNS = tuple(name for name, source in SOURCES.items() if source.values is not None)
"""Sources that a shard answers by reading down a column; the columns of `ShardQuery.column_k`."""
DEFAULT = {name: source.k for name, source in SOURCES.items() if source.k}
"""Candidates by source, for a scenario that names none."""
