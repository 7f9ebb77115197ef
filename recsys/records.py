"""Items and events as they arrive from outside, over HTTP or out of a file, and what makes one acceptable.

`validate_each` is the way in: it takes a bulk list, keeps the good records and says of each other one which
field is wrong, which limit it broke and what to do. What depends on the configuration (declared attributes,
known event types, limits) is checked by `checks.py`, whose functions it calls when they are given.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from recsys.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic_core import ErrorDetails


ID_BYTES = 128
FLOAT_MAX = sys.float_info.max
EARLIEST_S = -2_208_988_800  # 1900-01-01T00:00:00Z
LATEST_S = 253_402_300_800  # 10000-01-01T00:00:00Z, the first second that RFC 3339 cannot write
PLAIN_WORDS = {  # pydantic's error types in words that name the fix; {} is the value
    "model_type": "must be an object with named fields, not {}",
    "dict_type": "must be an object with named fields, not {}",
    "string_type": "must be a string, not {}",
    "string_too_short": f"is empty; give 1 to {ID_BYTES} bytes of UTF-8",
    "string_pattern_mismatch": "{} holds a control character; remove it",
    "string_unicode": "holds a lone surrogate, which UTF-8 cannot carry; remove it",
    "float_type": "must be a finite number, not {}",
    "finite_number": "must be a finite number, not {}",
}


def unix_seconds(value: object) -> float:
    """Unix seconds of a number, a numeral, an RFC 3339 text or a datetime; ValueError says what is wrong.

    Without an offset the time is UTC. Numbers are always seconds: nothing is guessed from their size.
    """
    if isinstance(value, str):
        value = _from_text(value)
    elif isinstance(value, date):
        value = _from_date(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise misfit("RFC 3339 such as 2026-01-31T12:00:00Z or Unix seconds", value)
    if EARLIEST_S <= value < LATEST_S:
        return float(value)
    looks = ", not milliseconds" if LATEST_S <= value < LATEST_S * 1000 else ""
    raise ValueError(f"{shown(value)} lies outside the years 1900 to 9999; give Unix seconds{looks}")


def _from_text(text: str) -> object:
    """Seconds as float, or the text itself where it is no time."""
    try:
        if text[4:5] == "-" and text[7:8] == "-" and text[10:11] in {"", "T", "t", " "}:
            return _from_date(datetime.fromisoformat(text.upper()))
        return float(text)
    except ValueError:
        return text


def _from_date(day: date) -> float:
    moment = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def shown(value: object) -> str:
    """A value for a one-line message: at most 80 characters, control characters escaped."""
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a number of over 64 bits"  # Python refuses to print the longest ones
    text = repr(value[:80]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def misfit(wanted: str, value: object) -> ValueError:
    return ValueError(f"must be {wanted}, not {shown(value)}")


def _id_fits(text: str) -> str:
    # 32 characters cannot need more than 128 bytes, and most ids are shorter.
    if len(text) > 32 and len(text.encode()) > ID_BYTES:
        raise ValueError(f"is {len(text.encode())} bytes of UTF-8; at most {ID_BYTES} are allowed: shorten or hash it")
    return text


Id = Annotated[str, Field(strict=True, min_length=1, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"), AfterValidator(_id_fits)]
Text = Annotated[str, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
UnixSeconds = Annotated[float, PlainValidator(unix_seconds, json_schema_input_type=float | datetime)]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ItemIn(Record):
    """Something to recommend."""

    item_id: Id
    """1 to 128 bytes of UTF-8 without control characters."""
    title: Text = ""
    text: Text = ""
    """Title or text must hold something: they are what the item's vector is made of."""
    attributes: dict[Text, Text | Number | list[Text] | None] = {}
    """By declared name; null says the same as leaving the name out."""
    created_at: UnixSeconds | None = None
    """Unix seconds; None: not known, the item is never counted as new."""

    @model_validator(mode="after")
    def _says_something(self) -> ItemIn:
        if not (self.text.strip() or self.title.strip()):
            raise ValueError("title and text are both empty: give at least one of them")
        return self


class EventIn(Record):
    """Who did what to which item."""

    event_id: Id
    """1 to 128 bytes of UTF-8; an event that comes twice with the same id counts once."""
    user_id: Id
    item_id: Id
    type: Text
    """One of the configured event types."""
    value: Number | None = None
    """Such as the stars of a rating; None: the type says it all."""
    timestamp: UnixSeconds | None = None
    """Unix seconds; None: now, by the server's clock."""
    request_id: Id | None = None
    """The recommendation that led to the event; None: not known."""


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Refused:
    """One element of a bulk list that was left out."""

    index: int
    """Position in the list, from 0."""
    field: str | None
    """Such as `timestamp` or `attributes.year`; None: the element as a whole."""
    code: str
    """Stable: bad_input, missing, unknown_field, undeclared_attribute, unknown_event_type or too_large."""
    message: str
    """Names the field, the limit and the fix, in one line."""


def validate_each(
    kind: type[R], raw: Sequence[object], check: Callable[[R], R] | None = None
) -> tuple[list[tuple[int, R]], list[Refused]]:
    """The good elements of `raw` with their positions, and the refused ones; both in the order of `raw`.

    `check` sees each element that is well formed, returns the record to keep and refuses it with BadInput.
    """
    refused: dict[int, Refused] = {}
    places: Sequence[int] = range(len(raw))
    try:
        records = _list_of(kind).validate_python(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            index = int(detail["loc"][0])
            if index not in refused:
                refused[index] = Refused(index, *explain(kind, detail, detail["loc"][1:]))
        # pydantic hands back no part of a list that failed: the good ones pass again, in one go.
        places = [index for index in places if index not in refused]
        records = _list_of(kind).validate_python([raw[index] for index in places])
    if check is None:
        return list(zip(places, records, strict=True)), list(refused.values())
    kept = []
    for index, record in zip(places, records, strict=True):
        try:
            kept.append((index, check(record)))
        except BadInput as wrong:
            refused[index] = Refused(index, wrong.field, wrong.code, str(wrong))
    return kept, sorted(refused.values(), key=lambda one: one.index)


@cache
def _list_of(kind: type[R]) -> TypeAdapter[list[R]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]


def explain(kind: type[BaseModel], error: ErrorDetails, loc: tuple[int | str, ...]) -> tuple[str | None, str, str]:
    """(field, code, message) of one pydantic error; `loc` is where it stands within the record."""
    # Deeper parts of a location name branches of a union, which say nothing to a caller.
    field = ".".join(str(part)[:64] for part in loc[: 2 if loc[:1] == ("attributes",) else 1]) or None
    code, what = _reason(kind, error, loc)
    return field, code, what if field is None else f"{field}: {what}"


def _reason(kind: type[BaseModel], error: ErrorDetails, loc: tuple[int | str, ...]) -> tuple[str, str]:
    if error["type"] == "missing":
        return "missing", "is missing and has no default"
    if error["type"] == "extra_forbidden":
        return "unknown_field", f"is not known; the fields are {', '.join(kind.model_fields)}"
    if error["type"] == "value_error":
        return "bad_input", str(error["ctx"]["error"])
    if loc[:1] == ("attributes",) and len(loc) > 1:
        what = "must be a string, a finite number or a list of strings, not {}"
    else:
        what = PLAIN_WORDS.get(error["type"], error["msg"])
    return "bad_input", what.replace("{}", shown(error["input"]))
