"""Which column of a file holds which of our fields, and what to say where one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config import AttributeType
from recsys.errors import BadInput
from recsys.reading.column_names import proposed

INNER = "attributes."
"""Before the name of an attribute that stands in an object `attributes`."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What is read of files of one sort."""

    known: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...]
    """Groups of fields; of each group at least one must have a column."""
    attributes: Mapping[str, AttributeType]
    """Declared attributes that are columns of their own; empty for events."""
    hints: Mapping[str, str]
    """Field: what else to do where it has no column."""

    def check(self, mapping: Mapping[str, str]) -> None:
        """BadInput when the mapping names a field that does not exist."""
        for field, column in mapping.items():
            if field not in self.known:
                known = ", ".join(self.known)
                raise BadInput(f"--map {field}={column}: no such field; the fields are {known}", field=field)

    def columns(self, path: Path, header: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
        """Column of each field that the file has. BadInput names all that are missing, with the mapping to try."""
        self.check(mapping)
        present = set(header)
        columns = {field: mapping.get(field, field) for field in self.known}
        columns = {field: column for field, column in columns.items() if column in present}
        for field in self.attributes:
            if field not in columns and f"{INNER}{field}" in present and field not in mapping:
                columns[field] = f"{INNER}{field}"
        missing = [group for group in self.needed if not columns.keys() & set(group)]
        told = {field for group in missing for field in group}
        missing += [(field,) for field in mapping if field not in columns and field not in told]
        if missing:
            raise self._incomplete(path, header, missing, mapping)
        for field, column in columns.items():
            if list(header).count(column) > 1:
                raise BadInput(f"{path}: has more than one column {column}; rename one of them", field=field)
        return columns

    def later(self, header: Sequence[str]) -> dict[str, str]:
        """Columns of the fields that the first objects of a JSON file do not have, and later ones may."""
        inner = INNER if any(column.startswith(INNER) for column in header) else ""
        return {field: f"{inner if field in self.attributes else ''}{field}" for field in self.known}

    def _incomplete(
        self, path: Path, header: Sequence[str], missing: Sequence[tuple[str, ...]], mapping: Mapping[str, str]
    ) -> BadInput:
        names = ", ".join(" or ".join(_asked(group, mapping)) for group in missing)
        free = [column for column in header if column not in mapping.values()]
        wanted = [field for group in missing for field in group]
        guess = proposed(free, wanted)
        groups = [next((field for field in group if field in guess), group[0]) for group in missing]
        maps = " ".join(f"--map {field}={guess.get(field, 'COLUMN')}" for field in groups)
        look = "" if all(field in guess for field in groups) else f"; recsys inspect {path} says what they hold"
        hints = "".join(f", or {self.hints[field]}" for field in groups if field in self.hints and field not in guess)
        return BadInput(
            f"{path}: has no column {names}; found: {', '.join(header)[:500]}; "
            f"name the right one with {maps}{hints}{look}",
            field=groups[0],
        )


def _asked(group: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """Columns of which one was expected: those that were named, where some were."""
    named = [mapping[field] for field in group if field in mapping]
    return named or list(group)
