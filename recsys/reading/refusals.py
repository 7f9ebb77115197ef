"""Rows and values of files that were left out, counted by reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

EXAMPLES = 3
"""Examples that are kept of each reason."""

_PARTICULAR = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?\d[\d.,:TZe+-]*""")
"""Quoted values and numbers. Messages of one reason differ only in these."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row, or one value of it, that was left out."""

    file: str
    line: int
    """From 1: the first physical line of a text row (the header is line 1), or the row number in Parquet."""
    message: str
    field: str | None = None
    """Such as `timestamp` or `attributes.year`. None: the row as a whole."""
    fix: str = ""
    """The fix, in one phrase. Empty: the message names it."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"

    @property
    def reason(self) -> str:
        """The message without quoted values and numbers, the same for all rows with one fault."""
        return _PARTICULAR.sub("…", self.message)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The rows or values left out for one reason."""

    reason: str
    """See `BadRow.reason`."""
    field: str | None
    """Such as `timestamp`. None: whole rows."""
    count: int
    examples: tuple[BadRow, ...]
    """The first EXAMPLES."""
    fix: str
    """See `BadRow.fix`."""


class Refusals:
    """Counts `BadRow`s by reason in bounded memory. Iterating yields `Refusal`s, the most frequent first."""

    def __init__(self, rows: Iterable[BadRow] = ()) -> None:
        self._counts: dict[tuple[str | None, str], int] = {}
        self._examples: dict[tuple[str | None, str], list[BadRow]] = {}
        self.extend(rows)

    def add(self, row: BadRow) -> None:
        key = (row.field, row.reason)
        self._counts[key] = self._counts.get(key, 0) + 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < EXAMPLES:
            examples.append(row)

    def extend(self, rows: Iterable[BadRow]) -> None:
        for row in rows:
            self.add(row)

    @property
    def count(self) -> int:
        """Rows or values that were left out."""
        return sum(self._counts.values())

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __iter__(self) -> Iterator[Refusal]:
        for (field, reason), count in sorted(self._counts.items(), key=lambda one: -one[1]):
            examples = self._examples[field, reason]
            yield Refusal(reason, field, count, tuple(examples), next((row.fix for row in examples if row.fix), ""))

    def as_json(self) -> list[dict[str, object]]:
        """Return the reasons for `--json`, with examples as `file:line: message`."""
        return [
            {
                "reason": one.reason,
                "field": one.field,
                "count": one.count,
                "fix": one.fix,
                "examples": [str(row) for row in one.examples],
            }
            for one in self
        ]
