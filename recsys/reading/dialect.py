"""How a file is written, and the options by which a user overrides the detection."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from recsys.errors import BadInput

Container = Literal["delimited", "json lines", "json document", "parquet"]
Compression = Literal["gzip", "bz2", "xz", "zstd"]
TimeUnit = Literal["s", "ms", "us", "ns", "excel", "year", "yyyymmdd"]
DefaultTime = Literal["order", "now"]
BadAttributes = Literal["drop", "refuse"]

_CONDITION = re.compile(r"^\s*(?P<column>.+?)\s*(?P<sign>!=|>=|<=|=|>|<)\s*(?P<value>.*?)\s*$")
_NAMED_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on rows: `column sign value`, such as `clicked=1`."""

    column: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition of a text. Raises BadInput when it is not one."""
        parts = _CONDITION.match(text)
        if parts is None:
            raise BadInput(f"--where {text}: write it as column=value, or with !=, <, <=, > or >=", field="where")
        return cls(parts["column"], parts["sign"], parts["value"])


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of a user for reading files. None: the value is detected."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    """The file's column for a field, where their names differ."""
    also: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Further columns for a field of `mapping`: a file without the first is read by the first of these that it has."""
    separator: str | None = None
    """Separator of cells; `tab` for a tab."""
    encoding: str | None = None
    """Name of a Python codec, such as cp1252."""
    header: bool | None = None
    """Whether the first line holds the column names. False: columns are named 1, 2, 3."""
    list_separator: str | None = None
    """Separator of the entries in a cell with a list."""
    time_unit: TimeUnit | None = None
    """Unit of times that are numbers."""
    time_format: str | None = None
    """Format of times, as for `strptime`."""
    default_time: DefaultTime | None = None
    """Time of events without one: by the order of the rows, or the time of reading. None: such events are refused."""
    type_map: Mapping[str, str] = field(default_factory=dict)
    """The configured event type for a type in the file."""
    where: Sequence[Condition] = ()
    """Rows that do not fulfil all conditions are skipped."""
    text_from: Sequence[str] = ()
    """Columns that are joined to an item's text."""
    bad_attributes: BadAttributes = "drop"
    """Whether an invalid optional value is left out, or its row refused."""

    def of_columns(self, columns: Collection[str], *, alone: bool) -> ReadOptions:
        """Return the options for a file with these columns: each field has the first of its columns that is there.

        `alone`: whether it is the only file. In one of several files a field may have none of its columns.
        """
        mapping = {}
        for name, first in self.mapping.items():
            present = [column for column in (first, *self.also.get(name, ())) if column in columns]
            if present or alone:
                mapping[name] = present[0] if present else first
        return replace(self, mapping=mapping, also={})

    def __post_init__(self) -> None:
        if self.separator is not None:
            object.__setattr__(self, "separator", _NAMED_SEPARATORS.get(self.separator.lower(), self.separator))
            if not self.separator or self.separator in {'"', "\n", "\r"}:
                raise BadInput("--separator: give one character or more, or tab", field="separator")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise BadInput(
                    f"--encoding {self.encoding}: is not known; such as utf-8, cp1252, latin-1, utf-16, shift_jis",
                    field="encoding",
                ) from None
        if self.list_separator is not None and not self.list_separator.strip():
            raise BadInput("--list-separator: give the character between entries, such as ','", field="list_separator")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one file is written, as detected or given by options."""

    container: Container
    columns: tuple[str, ...]
    """Names in the order of the file. Fields of nested objects are named `outer.inner`."""
    compression: Compression | None = None
    encoding: str = "utf-8"
    separator: str = ","
    quote: str = '"'
    """Empty: quotes are ordinary characters."""
    header: bool = True
    """False: columns are named 1, 2, 3."""
    key: str | None = None
    """Field of a JSON document that holds the list of records. None: the document is the list."""

    def __str__(self) -> str:
        """Return a description such as `a table in UTF-8, cells separated by semicolons`."""
        packed = "" if self.compression is None else f", {self.compression}"
        if self.container == "parquet":
            return "Parquet"
        encoding = self.encoding.upper().replace("UTF-8-SIG", "UTF-8 with a byte order mark")
        if self.container != "delimited":
            what = "JSON lines" if self.container == "json lines" else "one JSON document"
            where = f", records under {self.key}" if self.key else ""
            return f"{what} in {encoding}{where}{packed}"
        between = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "pipes"}.get(self.separator, self.separator)
        header = "" if self.header else ", without a header"
        quotes = {'"': "", "": ", without quotes"}.get(self.quote, f", quoted with {self.quote}")
        return f"a table in {encoding}, cells separated by {between}{quotes}{header}{packed}"
