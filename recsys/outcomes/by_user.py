"""What came of the answers of each user in each variant of an experiment: what its statistics are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from recsys.outcomes.joining import Question, answered, join
from recsys.outcomes.log_files import LogFiles

if TYPE_CHECKING:
    import duckdb

Doubles = npt.NDArray[np.float64]

PERIODS = 24
"""Equal parts of the time asked for, for what changes with time."""

_PLACES = """
CREATE TEMP TABLE hits AS
SELECT request_id, position, bool_or(role = 'click') AS clicked, bool_or(role = 'conversion') AS converted,
  sum(value) FILTER (role = 'conversion') AS value
FROM matched WHERE timely AND position > 0 GROUP BY ALL
"""

_BY_USER = """
WITH outcome AS (
  SELECT request_id, count(*) FILTER (clicked) AS clicks, bool_or(converted) AS converted, sum(value) AS value
  FROM hits GROUP BY request_id
), credit AS (
  SELECT request_id, count(*) FILTER (clicked AND teams[position] = 0) AS a,
    count(*) FILTER (clicked AND teams[position] = 1) AS b
  FROM hits JOIN answers USING (request_id) WHERE teams IS NOT NULL GROUP BY request_id
)
SELECT {by} AS variant, "user",
  least(floor((epoch(moment) - $since) / $step), $periods - 1)::INTEGER AS period,
  count(*)::DOUBLE AS answers, sum(len(items))::DOUBLE AS items, sum(coalesce(clicks, 0))::DOUBLE AS clicks,
  count(*) FILTER (clicks > 0)::DOUBLE AS answers_with_click,
  count(*) FILTER (converted)::DOUBLE AS answers_with_conversion,
  sum(coalesce(value, 0))::DOUBLE AS value, sum(coalesce(a, 0))::DOUBLE AS a, sum(coalesce(b, 0))::DOUBLE AS b
FROM answers LEFT JOIN outcome USING (request_id) LEFT JOIN credit USING (request_id)
WHERE "user" IS NOT NULL AND ($scenario IS NULL OR scenario = $scenario)
  AND ($every OR list_contains($variants, {by}))
GROUP BY ALL
"""

SUMS = ("answers", "items", "clicks", "answers_with_click", "answers_with_conversion", "value", "a", "b")
"""Columns of sums: those of `measures.py` with these names; `a` and `b` are clicks on the items of two teams."""


@dataclass(frozen=True, slots=True)
class UserRows:
    """n rows, one for each user, variant and part of the time."""

    variants: npt.NDArray[np.int64]
    """(n,) place of the variant among those asked for."""
    users: npt.NDArray[np.int64]
    """(n,) place of the user in `tokens`."""
    periods: npt.NDArray[np.int64]
    """(n,) from 0 to PERIODS - 1."""
    sums: dict[str, Doubles]
    """(n,) float64 each, by SUMS."""
    tokens: npt.NDArray[np.str_]
    """What the log calls each user."""

    @property
    def user_count(self) -> int:
        return len(self.tokens)


def by_user(
    files: LogFiles,
    question: Question,
    scenario: str | None,
    variants: Sequence[str] = (),
    by: Literal["variant", "version"] = "variant",
) -> UserRows:
    """`variants`: as the log has them, or versions; none: all answers, as of one variant. `scenario` None: of all.

    Users are those of the log: somebody who was erased, or whose token has expired, is nobody. Raises as `report` does.
    """
    table = answered(files, partial(_ask, files=files, question=question, scenario=scenario, variants=variants, by=by))
    places = {name: place for place, name in enumerate(variants)}
    tokens, users = np.unique(table["user"].astype(str), return_inverse=True)
    return UserRows(
        np.array([places.get(name, 0) for name in table["variant"]], np.int64),
        users.astype(np.int64),
        np.asarray(table["period"], np.int64),
        {name: np.asarray(table[name], np.float64) for name in SUMS},
        tokens,
    )


def _ask(
    database: duckdb.DuckDBPyConnection,
    files: LogFiles,
    question: Question,
    scenario: str | None,
    variants: Sequence[str],
    by: str,
) -> dict[str, Any]:
    join(database, files, question, ', "user", teams')
    database.execute(_PLACES)
    step = (question.end - question.start) / PERIODS
    given: dict[str, Any] = {"since": question.start, "step": step, "periods": PERIODS, "scenario": scenario}
    given |= {"variants": list(variants) or [""], "every": not variants}
    return dict(database.execute(_BY_USER.format(by=by), given).fetchnumpy())
