"""How a file is written, and what a user says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """Rows that are wanted: `column sign value`, such as `clicked=1`."""

    column: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """BadInput where it is no condition."""
        parts = _CONDITION.match(text)
        if parts is None:
            raise BadInput(f"--where {text}: write it as column=value, or with !=, <, <=, > or >=", field="where")
        return cls(parts["column"], parts["sign"], parts["value"])


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a user says of files. None: it is detected."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    """Our field: the file's column, where they differ."""
    separator: str | None = None
    """Between cells; `tab` for a tab."""
    encoding: str | None = None
    """A codec of Python, such as cp1252."""
    header: bool | None = None
    """Whether the first line holds names; False: columns are named 1, 2, 3."""
    list_separator: str | None = None
    """Between the entries of one cell."""
    time_unit: TimeUnit | None = None
    """Of times that are numbers."""
    time_format: str | None = None
    """As `strptime` knows it."""
    default_time: DefaultTime | None = None
    """For events without a time: the rows' order, or the time of reading."""
    type_map: Mapping[str, str] = field(default_factory=dict)
    """The file's event type: ours."""
    where: Sequence[Condition] = ()
    """All must hold of a row that is read."""
    text_from: Sequence[str] = ()
    """Columns that make up an item's text."""
    bad_attributes: BadAttributes = "drop"
    """Whether an optional value that does not fit costs the value or the whole item."""

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
    """How one file is written, as detected or told."""

    container: Container
    columns: tuple[str, ...]
    """Names in the order of the file; those of nested objects as `outer.inner`."""
    compression: Compression | None = None
    encoding: str = "utf-8"
    separator: str = ","
    quote: str = '"'
    """Empty: quotes are ordinary characters."""
    header: bool = True
    """False: columns are named 1, 2, 3."""
    key: str | None = None
    """Of a JSON document: where in its object the list of records is; None: it is the list itself."""

    def __str__(self) -> str:
        """Such as `CSV in UTF-8, separated by ;`."""
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
