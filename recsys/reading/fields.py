"""The column of each field in a file, and the message when one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config.platform import AttributeType
from recsys.data.wording import one_line
from recsys.errors import BadInput
from recsys.reading.column_names import proposed

INNER = "attributes."
"""Prefix of an attribute within an object `attributes`."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that are read from item files, or from event files."""

    names: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...]
    """Groups of fields. At least one field of each group must have a column."""
    attributes: Mapping[str, AttributeType]
    """Declared attributes that are columns of their own. Empty for events."""
    hints: Mapping[str, str]
    """Another way out for a field without a column."""

    def check(self, mapping: Mapping[str, str]) -> None:
        """Raise BadInput when the mapping names a field that does not exist."""
        for field, column in mapping.items():
            if field not in self.names:
                names = ", ".join(self.names)
                raise BadInput(f"--map {field}={column}: no such field; the fields are {names}", field=field)

    def columns(self, path: Path, header: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
        """Return the column of each field that the file has.

        Raises BadInput naming all missing fields and the mapping to try, and when two columns have the same name.
        """
        self.check(mapping)
        present = set(header)
        columns = {field: mapping.get(field, field) for field in self.names}
        columns = {field: column for field, column in columns.items() if column in present}
        for field in self.attributes:
            if field not in columns and f"{INNER}{field}" in present and field not in mapping:
                columns[field] = f"{INNER}{field}"
        missing = [group for group in self.needed if not columns.keys() & set(group)]
        lacking = {field for group in missing for field in group}
        missing += [(field,) for field in mapping if field not in columns and field not in lacking]
        if missing:
            raise self._incomplete(path, header, missing, mapping)
        for field, column in columns.items():
            if list(header).count(column) > 1:
                raise BadInput(one_line(f"{path}: has more than one column {column}; rename one of them"), field=field)
        return columns

    def later(self, header: Sequence[str]) -> dict[str, str]:
        """Return the columns that later objects of a JSON file may have although its first ones do not."""
        inner = INNER if any(column.startswith(INNER) for column in header) else ""
        return {field: f"{inner if field in self.attributes else ''}{field}" for field in self.names}

    def _incomplete(
        self, path: Path, header: Sequence[str], missing: Sequence[tuple[str, ...]], mapping: Mapping[str, str]
    ) -> BadInput:
        names = ", ".join(" or ".join(_expected(group, mapping)) for group in missing)
        free = [column for column in header if column not in mapping.values()]
        guess = proposed(free, [field for group in missing for field in group])
        groups = [next((field for field in group if field in guess), group[0]) for group in missing]
        maps = " ".join(f"--map {field}={guess.get(field, 'COLUMN')}" for field in groups)
        look = "" if all(field in guess for field in groups) else f"; recsys inspect {path} says what they hold"
        hints = "".join(f", or {self.hints[field]}" for field in groups if field in self.hints and field not in guess)
        return BadInput(
            one_line(
                f"{path}: has no column {names}; found: {', '.join(header)[:500]}; "
                f"name the right one with {maps}{hints}{look}"
            ),
            field=groups[0],
        )


def _expected(group: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """Return the columns of which one was expected: those of the mapping, else the fields' own names."""
    named = [mapping[field] for field in group if field in mapping]
    return named or list(group)
