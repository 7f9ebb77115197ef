"""A profile of files before they are used: their format, their columns, and their faults.

Statistics are computed on columns, so a million rows take seconds. Faults of rows are found by reading the first rows
as a command would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recsys.config.platform import AttributeType
from recsys.config.scenarios import EventType
from recsys.config.serving import Limits
from recsys.errors import BadInput
from recsys.reading import column_profile
from recsys.reading.column_kinds import Kind, kind_of, mostly_numbers
from recsys.reading.detection import detect
from recsys.reading.dialect import Dialect, ReadOptions
from recsys.reading.fields import INNER
from recsys.reading.proposals import attributes_of, fields_of, type_map_of
from recsys.reading.proposed_commands import Proposal, commands_of
from recsys.reading.readers import Batch, Reading, read_events, read_items
from recsys.reading.refusals import Refusals
from recsys.reading.table_reading import read_rows, vector_columns

ROWS = 2_000_000
"""Rows of a file that are considered. Later rows of a larger file are not read."""
_READ_ROWS = 20_000
"""Rows that are read as a command would read them, to find their faults."""
_SAMPLE = 1000
"""Cells of a column that decide its kind."""
_BATCH = 100_000
_UNWORDED = ("empty", "boolean", "number", "date", "datetime")
"""Kinds of columns in which `—`, `N/A` and the like say that there is no value, unless they are declared otherwise."""
_COMPOSED = ("keyword", "keyword[]")
"""Kinds of columns whose cells are read in their canonical spelling."""
_WORST = 5
"""Faults that are shown, the most frequent first."""

_UNKNOWN = (
    "no column is known as one of items (item_id, title or text) or of events (user_id, item_id); say which "
    "ones they are with --map, such as --map item_id=COLUMN"
)

Sort = Literal["items", "events", "unknown"]


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of a file."""

    name: str
    kind: Kind
    field: str | None
    """The field that is read from it. None: it is not read."""
    missing: float
    """Share of rows without a value. In columns of numbers, times and truth values `—` and the like mean none."""
    distinct: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The profile of one file, and the command that reads it."""

    path: Path
    dialect: str
    sort: Sort
    rows: int
    complete: bool
    """Whether all rows were considered."""
    columns: tuple[ColumnProfile, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    """Statistics by name, JSON-ready: see `column_profile.py`."""
    notes: tuple[str, ...] = ()
    """See `FileReading.notes`."""
    worst: tuple[str, ...] = ()
    """Rows that would be refused or lose a value: an example of each of the most frequent reasons."""
    command: str = ""
    """The command that reads the file, and perhaps others of its sort. Empty: its fields could not be determined."""
    attributes: dict[str, AttributeType] = field(default_factory=dict)
    """Attributes to declare for filters."""
    problem: str = ""
    """Why the file cannot be read as it is. Empty: it can."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The part of the config file that reading depends on."""

    attributes: Mapping[str, AttributeType] = field(default_factory=dict)
    event_types: Mapping[str, EventType] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    max_tokens: int = 256


def inspect(paths: Sequence[Path], options: ReadOptions, configured: Configured) -> list[Inspection]:
    """Return the profile of every file. Item files come first: events are joined with them.

    Raises BadInput for a file that is not a table.
    """
    files = [_File.of(path, options, alone=len(paths) == 1) for path in paths]
    order = {"items": 0, "events": 1, "unknown": 2}
    files.sort(key=lambda one: order[one.sort])
    ids = [one.column("item_id") for one in files if one.sort == "items"]
    catalogue = pa.concat_arrays([column_profile.spelled(column) for column in ids]) if ids else None
    inspections = [one.inspection(configured, catalogue) for one in files]
    proposals = [proposal for _, proposal in inspections if proposal is not None]
    commands = dict(zip((proposal.path for proposal in proposals), commands_of(proposals), strict=True))
    return [replace(one, command=commands.get(one.path, "")) for one, _ in inspections]


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    dialect: Dialect
    columns: dict[str, pa.Array]
    rows: int
    complete: bool
    kinds: dict[str, Kind]
    fields: dict[str, str]
    """The file's column for each field."""
    sort: Sort
    options: ReadOptions

    @classmethod
    def of(cls, path: Path, options: ReadOptions, *, alone: bool) -> _File:
        dialect = detect(path, options)
        options = options.of_columns(dialect.columns, alone=alone)
        vectors = vector_columns(path) if dialect.container == "parquet" else set()
        names = [name for name in dict.fromkeys(dialect.columns) if name not in vectors]
        parts = list(islice(read_rows(path, dialect, names, _BATCH), ROWS // _BATCH))
        columns = {
            name: pa.concat_arrays([part.of(name) for part in parts]) if parts else pa.nulls(0, pa.string())
            for name in names
        }
        rows = sum(map(len, parts))
        kinds = {name: kind_of(name.removeprefix(INNER), _sample(column)) for name, column in columns.items()}
        sort, fields = fields_of(dialect, kinds, columns, options)
        return cls(path, dialect, columns, rows, rows < ROWS, kinds, fields, sort, options)

    def column(self, name: str) -> pa.Array:
        """Return the column of a field. All its cells are missing when the file has none."""
        return self.columns.get(self.fields.get(name, ""), pa.nulls(self.rows, pa.string()))

    def inspection(self, configured: Configured, catalogue: pa.Array | None) -> tuple[Inspection, Proposal | None]:
        """Return the profile, and how the file is to be read. None: its fields could not be determined."""
        columns, facts = tuple(self._profiles(configured.attributes)), self._facts(configured, catalogue)
        inspection = Inspection(self.path, str(self.dialect), self.sort, self.rows, self.complete, columns, facts)
        if self.sort == "unknown":
            return replace(inspection, problem=_UNKNOWN), None
        attributes = (
            {} if self.sort == "events" else attributes_of(self.kinds, self.columns, self.fields, configured.attributes)
        )
        declared = {**configured.attributes, **{name: kind for name, (_, kind) in attributes.items()}}
        proposal = self._proposal(facts, configured, {name: column for name, (column, _) in attributes.items()})
        inspection = replace(inspection, attributes={name: kind for name, (_, kind) in attributes.items()})
        return self._read(inspection, proposal, declared, configured), proposal

    def _proposal(self, facts: Mapping[str, Any], configured: Configured, attributes: Mapping[str, str]) -> Proposal:
        """Return how the file is to be read. `attributes`: the column of each attribute that could be declared."""
        given, default_type = self.options, None
        named = {name: column for name, column in given.mapping.items() if name in configured.attributes}
        fields = {**self.fields, **attributes, **(named if self.sort == "items" else {})}
        mapping = {ours: column for ours, column in fields.items() if column not in (ours, f"{INNER}{ours}")}
        options = replace(given, mapping=mapping)
        if self.sort == "events":
            types = type_map_of(facts.get("types", {}), configured.event_types)
            options = replace(options, type_map={**types, **given.type_map})
            if "timestamp" not in self.fields and given.default_time is None:
                options = replace(options, default_time="order")
            if "type" not in self.fields:
                default_type = "rating" if "value" in self.fields else "like"
        sort: Literal["items", "events"] = "items" if self.sort == "items" else "events"
        return Proposal(self.path, sort, frozenset(self.dialect.columns), fields, options, default_type)

    def _profiles(self, declared: Mapping[str, AttributeType]) -> list[ColumnProfile]:
        ours = {column: name for name, column in self.fields.items()}
        if self.sort == "items":
            ours = {f"{inner}{name}": name for name in declared for inner in ("", INNER)} | ours
        profiles = []
        for name, cells in self.columns.items():
            is_id = ours.get(name, "").endswith("_id")
            column = column_profile.present(
                cells, words=is_id or self._has_words(name, declared.get(ours.get(name, "")))
            )
            if is_id:
                column = column_profile.spelled(column)
            elif self.kinds[name] in _COMPOSED:
                column = column_profile.composed(column)
            examples = column.drop_null().slice(0, 50).unique().to_pylist()[:3]
            profiles.append(
                ColumnProfile(
                    name,
                    self.kinds[name],
                    ours.get(name),
                    column.null_count / max(self.rows, 1),
                    pc.count_distinct(column).as_py(),
                    tuple(text[:60] for text in examples),
                )
            )
        return profiles

    def _has_words(self, name: str, declared: AttributeType | None) -> bool:
        """Return whether `—` may be one of the words of a column, rather than say that there is no value."""
        if declared is not None:
            return declared in ("keyword", "keyword[]")
        return self.kinds[name] not in _UNWORDED and not mostly_numbers(_sample(self.columns[name]))

    def _facts(self, configured: Configured, catalogue: pa.Array | None) -> dict[str, Any]:
        if not self.rows:
            return {}
        if self.sort == "items":
            names = ("item_id", "title", "text", "created_at")
            return column_profile.of_items(*(self.column(name) for name in names), max_tokens=configured.max_tokens)
        if self.sort == "events":
            names = ("user_id", "item_id", "type", "timestamp")
            users, items, types, times = (self.column(name) for name in names)
            return column_profile.of_events(users, items, types, times, catalogue)
        return {}

    def _read(
        self, inspection: Inspection, proposal: Proposal, declared: Mapping[str, AttributeType], configured: Configured
    ) -> Inspection:
        """Return the inspection with the faults of the first rows."""
        options = proposal.options
        try:
            reading: Reading[Any]
            if self.sort == "items":
                reading = read_items([self.path], declared, configured.limits, options, _READ_ROWS)
            else:
                default = None if "type" in self.fields else next(iter(configured.event_types), "event")
                types = configured.event_types or {default or "event": EventType()}
                reading = read_events([self.path], types, configured.limits, options, _READ_ROWS, default_type=default)
            first: list[Batch[Any]] = list(islice(reading, 1))
        except BadInput as wrong:
            return replace(inspection, problem=str(wrong))
        faults = Refusals(row for batch in first for row in (*batch.bad_rows, *batch.dropped))
        facts = dict(inspection.facts)
        for batch in first:
            facts["read"] = {"rows": len(batch.records) + len(batch.bad_rows), "refused": len(batch.bad_rows)}
            facts["read"]["dropped_values"] = len(batch.dropped)
        worst = tuple(
            f"{one.examples[0]}{f' ({one.count} such)' if one.count > 1 else ''}" for one in islice(faults, _WORST)
        )
        return replace(inspection, notes=reading.files[0].notes, worst=worst, facts=facts)


def _sample(column: pa.Array) -> list[str]:
    """Return the first cells that are not empty."""
    return list(column.drop_null().slice(0, _SAMPLE).to_pylist())
