"""How a file is read: its dialect, the columns of the fields, and how cells are written, from its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recsys.data.wording import one_line
from recsys.errors import BadInput
from recsys.reading import cells
from recsys.reading.column_kinds import kind_of
from recsys.reading.detection import detect
from recsys.reading.dialect import Dialect, ReadOptions
from recsys.reading.fields import INNER, Fields
from recsys.reading.table_reading import read_rows
from recsys.reading.tables import Rows
from recsys.reading.times import TimeReading, note_on_numbers, time_reading

_SAMPLE_ROWS = 1000
_TOLD = 12
"""Unused columns that the summary names."""
_IDS = ("item_id", "user_id", "event_id", "request_id")
_TIMES = ("timestamp", "created_at", "available_from", "available_until")
_DECLARED_AS = {"image": "keyword", "link": "keyword", "empty": "keyword", "text": "keyword"}


@dataclass(frozen=True, slots=True)
class FileReading:
    """The decisions made before the first row is converted. A table has the same in every container."""

    path: Path
    dialect: Dialect
    columns: dict[str, str]
    """The file's column for each field."""
    float_ids: frozenset[str] = frozenset()
    """Fields whose ids are all written as `50.0`, and read as `50`."""
    times: dict[str, TimeReading] = field(default_factory=dict)
    """How the times of a field are written."""
    decimal_commas: frozenset[str] = frozenset()
    """Fields whose numbers have decimal commas."""
    list_separators: dict[str, str] = field(default_factory=dict)
    """Separator of the lists of a `keyword[]` attribute."""
    notes: tuple[str, ...] = ()
    """Decisions that a user should know of."""
    unused: tuple[str, ...] = ()
    """Columns that are not read, each with its kind."""
    attributes: bool = False
    """Whether unused columns could be declared as attributes."""

    def summary(self) -> list[str]:
        """Return one or two lines that say how the file is read."""
        present = {name: column for name, column in self.columns.items() if column in self.dialect.columns}
        renamed = [f"{name} from {column}" for name, column in present.items() if column not in (name, INNER + name)]
        names = ", ".join(renamed) if renamed else "columns " + ", ".join(present)
        lines = [f"{self.path}: {self.dialect}; {names}"]
        notes = list(self.notes)
        if self.unused:
            more = f" and {len(self.unused) - _TOLD} more" if len(self.unused) > _TOLD else ""
            listed = ", ".join(self.unused[:_TOLD])
            how = "; declare what filters need under args.attributes (recsys inspect writes the block)"
            notes.append(f"not used: {listed}{more}{how if self.attributes else ''}")
        return [one_line(line) for line in [*lines, *([f"  {'; '.join(notes)}"] if notes else [])]]


def look(path: Path, fields: Fields, options: ReadOptions, *, alone: bool = True) -> FileReading:
    """Detect the dialect, assign the columns, and sample the first rows.

    `alone`: whether it is the only file, see `ReadOptions.of_columns`. Raises BadInput when the file cannot be read or
    lacks a column.
    """
    dialect = detect(path, options)
    if dialect.container == "json lines" and not dialect.columns:  # reading reports the fault of each line
        fields.check(options.mapping)
        dialect = replace(dialect, columns=tuple(options.mapping.get(field, field) for field in fields.names))
    header = dialect.columns
    options = options.of_columns(header, alone=alone)
    columns = fields.columns(path, header, options.mapping)
    if dialect.container in ("json lines", "json document"):
        columns = fields.later(header) | columns
    further = [*options.text_from, *(condition.column for condition in options.where)]
    if absent := [name for name in further if name not in header]:
        listing = f"found: {', '.join(header)[:500]}"
        raise BadInput(one_line(f"{path}: has no column {absent[0]}; {listing}"), field=absent[0])
    names = list(dict.fromkeys([*columns.values(), *further, *(name for name in header if name)]))
    sample = next(read_rows(path, dialect, names, _SAMPLE_ROWS), None)
    return _Look(path, dialect, columns, fields, options, sample).reading(further)


@dataclass(frozen=True, slots=True)
class _Look:
    path: Path
    dialect: Dialect
    columns: dict[str, str]
    fields: Fields
    options: ReadOptions
    sample: Rows | None

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column in the sample that are not missing."""
        return [] if self.sample is None else self.sample.of(column).drop_null().to_pylist()

    def reading(self, further: Sequence[str]) -> FileReading:
        options = self.options
        notes: list[str] = []
        of_numbers = [name for name in self.columns if self._kind(name) == "number"]
        of_lists = [name for name in self.columns if self._kind(name) == "keyword[]"]
        commas = [name for name in of_numbers if cells.has_decimal_commas(self.texts(self.columns[name]))]
        notes += [f"{name}: commas are decimals" for name in commas]
        used = {*self.columns.values(), *further}
        rest = [name for name in self.dialect.columns if name not in used]
        return FileReading(
            self.path,
            self.dialect,
            self.columns,
            frozenset(self._float_ids(notes)),
            self._times(notes),
            frozenset(commas),
            {name: options.list_separator or self._list_separator(name, notes) for name in of_lists},
            tuple(notes),
            tuple(self._with_kind(name) for name in rest),
            bool(self.fields.attributes) or "title" in self.fields.names,
        )

    def _kind(self, name: str) -> str | None:
        return "number" if name == "value" else self.fields.attributes.get(name)

    def _float_ids(self, notes: list[str]) -> list[str]:
        names = []
        for name in _IDS:
            texts = self.texts(self.columns[name]) if name in self.columns else []
            if texts and all(map(cells.is_whole_float, texts)):
                names.append(name)
                notes.append(f"{name}: {texts[0]} is read as {cells.whole_number(texts[0])}")
        return names

    def _times(self, notes: list[str]) -> dict[str, TimeReading]:
        readings = {}
        for name, column in self.columns.items():
            if name in _TIMES or self._kind(name) in ("datetime", "date"):
                texts = self.texts(column)
                unit, form = self.options.time_unit, self.options.time_format
                readings[name] = time_reading(texts, unit, form)
                if unit is None and form is None and (note := note_on_numbers(texts)):
                    notes.append(f"{name}: {note}")
        return readings

    def _list_separator(self, name: str, notes: list[str]) -> str:
        texts = self.texts(self.columns[name])
        separator = cells.list_separator(texts)
        if separator not in (None, "|"):
            notes.append(f"{name}: lists are separated at {separator!r}")
        elif (unsure := cells.may_be_list(texts)) is not None:
            sign, example = unsure
            notes.append(f"{name}: {example!r} is kept as one keyword; if it is a list, say --list-separator '{sign}'")
        return separator or "|"

    def _with_kind(self, column: str) -> str:
        kind = kind_of(column, self.texts(column))
        return f"{column} ({_DECLARED_AS.get(kind, kind)})" if self.fields.attributes or kind != "empty" else column
