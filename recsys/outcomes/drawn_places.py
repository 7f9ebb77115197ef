"""The first places of answers whose order was drawn at random, and whether they were clicked on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.outcomes.joining import Question, answered, join
from recsys.outcomes.log_files import LogFiles

if TYPE_CHECKING:
    import duckdb

Doubles = npt.NDArray[np.float64]

_FIRST = """
SELECT scores, propensities[1]::DOUBLE AS propensity,
  coalesce(bool_or(role = 'click' AND timely AND position = 1), false)::DOUBLE AS clicked
FROM answers LEFT JOIN matched USING (request_id)
WHERE scenario = $scenario AND len(items) > 1 AND NOT isnan(propensities[1]) AND list_min(propensities) < 1
GROUP BY request_id, scores, propensities ORDER BY request_id
"""


@dataclass(frozen=True, slots=True)
class FirstPlaces:
    """Of n answers with up to k items."""

    scores: Doubles
    """(n, k) float64 of all items in the order that was shown; -inf where there is none."""
    propensities: Doubles
    """(n,) float64, of the item in the first place."""
    clicked: Doubles
    """(n,) 0 or 1."""


def first_places(files: LogFiles, question: Question, scenario: str) -> FirstPlaces:
    """Raises as `joining.report` does."""
    table = answered(files, partial(_ask, files=files, question=question, scenario=scenario))
    scores = [np.asarray(row, np.float64) for row in table["scores"]]
    padded = np.full((len(scores), max(map(len, scores), default=0)), -np.inf)
    for line, row in enumerate(scores):
        padded[line, : len(row)] = row
    return FirstPlaces(padded, np.asarray(table["propensity"], np.float64), np.asarray(table["clicked"], np.float64))


def _ask(database: duckdb.DuckDBPyConnection, files: LogFiles, question: Question, scenario: str) -> dict[str, Any]:
    join(database, files, question, ", scores, propensities")
    return dict(database.execute(_FIRST, {"scenario": scenario}).fetchnumpy())
