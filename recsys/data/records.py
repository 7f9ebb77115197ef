"""Items and events as they arrive over HTTP or in a file, and their validation.

`validate_each` takes a bulk list. It returns the valid records, and for each other one the field, the limit that it
broke, and the fix. Checks that depend on the configuration (declared attributes, event types, limits) are in
`validation.py` and are passed to it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from recsys.config.described import Described
from recsys.data.bounds import FIELDS, KEYWORDS, too_many_fields
from recsys.data.canonical import canonical
from recsys.data.given_vectors import VECTOR, GivenVector
from recsys.data.plausible_times import refuse_other_unit
from recsys.data.wording import clipped, fault, misfit, printable, shown
from recsys.datatypes import AttributeValue, Item
from recsys.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


ID_BYTES = 128
FLOAT_MAX = sys.float_info.max
EARLIEST_S = -2_208_988_800  # 1900-01-01T00:00:00Z
LATEST_S = 253_402_300_800  # 10000-01-01T00:00:00Z, the first second that RFC 3339 cannot express


def unix_seconds(value: object) -> float:
    """Return Unix seconds from a number, a numeral, an RFC 3339 text, a date or a datetime.

    A time without an offset is UTC. A number is always seconds: its unit is not guessed from its size. Raises
    ValueError with a message that names the fix.
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


def day_of(seconds: float) -> float:
    """Return the Unix seconds of midnight, UTC, at the beginning of the day."""
    return seconds // 86_400 * 86_400


def _from_text(text: str) -> object:
    """Return Unix seconds, or the text itself when it is not a time."""
    try:
        if text[4:5] == "-" and text[7:8] == "-" and text[10:11] in {"", "T", "t", " "}:
            return _from_date(datetime.fromisoformat(text.upper()))
        return text if "_" in text else float(text)  # Python reads 2026_01_31 as 20260131
    except ValueError:
        return text


def _from_date(day: date) -> float:
    moment = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _id_fits(text: str) -> str:
    if not text.isascii():
        text = canonical(text)
    # 32 characters take at most 128 bytes, and most ids are shorter: those are not encoded.
    if len(text) > 32 and len(text.encode()) > ID_BYTES:
        raise ValueError(f"is {len(text.encode())} bytes of UTF-8; at most {ID_BYTES} are allowed: shorten or hash it")
    return text


Id = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, min_length=1, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"),
    AfterValidator(_id_fits),
]
"""An id in its canonical spelling, see `canonical.py`."""
# A length limit makes pydantic encode the string as UTF-8 and refuse a lone surrogate.
Text = Annotated[str, Field(strict=True, max_length=1 << 26)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
AttributeIn = bool | str | float | list[str] | None


def _attributes(given: object) -> dict[str, AttributeIn]:
    """Check names, and values for the types that any attribute may have. Stop at the first that is wrong."""
    if not isinstance(given, dict):
        raise misfit("an object with named fields", given)
    for name, value in given.items():
        if (why := _why_no_attribute(name, value)) is not None:
            kind = PydanticCustomError("attribute", "{why}", {"why": why})
            error = InitErrorDetails(type=kind, loc=(printable(name[:64]),), input=None)
            raise ValidationError.from_exception_data("attributes", [error])
    return given


def _why_no_attribute(name: str, value: object) -> str | None:
    if not encodable(name):
        return "holds a lone surrogate, which UTF-8 cannot carry; remove it"
    entries = value if isinstance(value, list) else [value]
    if len(entries) > KEYWORDS:
        return f"has {len(entries)} entries; at most {KEYWORDS} are allowed: keep the telling ones"
    if isinstance(value, list):
        fits = all(isinstance(entry, str) for entry in entries)
    elif isinstance(value, int | float):
        fits = -FLOAT_MAX <= value <= FLOAT_MAX
    else:
        fits = value is None or isinstance(value, str)
    if not fits:
        return f"must be a string, a finite number, true, false or a list of strings, not {shown(value)}"
    if not all(encodable(entry) for entry in entries if isinstance(entry, str)):
        return "holds a lone surrogate, which UTF-8 cannot carry; remove it"
    return None


def encodable(text: str) -> bool:
    """Return whether UTF-8 can encode the text. It cannot encode a lone surrogate, such as half of an emoji."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def stated_seconds(value: object) -> float:
    """As `unix_seconds`. ValueError also for a number that is a year, or a day, rather than seconds of 1970."""
    refuse_other_unit(value)
    return unix_seconds(value)


UnixSeconds = Annotated[float, PlainValidator(unix_seconds, json_schema_input_type=float | datetime)]
StatedSeconds = Annotated[float, PlainValidator(stated_seconds, json_schema_input_type=float | datetime)]


class Record(Described):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemIn(Record):
    """Something to recommend, of a file that was read."""

    item_id: Id
    """1 to 128 bytes of UTF-8 without control characters."""
    title: Text = ""
    text: Text = ""
    """Title or text must hold something: they are what the item's vector is made of."""
    attributes: Annotated[
        dict[str, AttributeIn],
        PlainValidator(_attributes, json_schema_input_type=dict[str, str | float | bool | list[str] | None]),
    ] = Field({})
    """By declared name; null says the same as leaving the name out."""
    created_at: UnixSeconds | None = None
    """Unix seconds; None: not known, the item is never counted as new."""
    hidden: Annotated[bool, Field(strict=True)] = False
    """Whether it is kept out of every answer."""
    available_from: UnixSeconds | None = None
    """Unix seconds before which no answer has it; None: no such bound."""
    available_until: UnixSeconds | None = None
    """Unix seconds from which on no answer has it; None: no such bound."""

    @model_validator(mode="after")
    def _says_something(self) -> ItemIn:
        if not (self.text.strip() or self.title.strip()):
            raise ValueError("title and text are both empty: give at least one of them")
        start, end = self.available_from, self.available_until
        if start is not None and end is not None and start >= end:
            raise ValueError("available_from must lie before available_until")
        return self


def item_of(record: ItemIn) -> Item:
    """The item in a record that was checked, without its vector."""
    attributes: dict[str, AttributeValue] = {
        key: value for key, value in record.attributes.items() if value is not None
    }
    fields = record.__dict__ | {"attributes": attributes}  # dict(record) first asks for `keys`, which takes longest
    fields.pop(VECTOR, None)
    return Item(**fields)


class EventIn(Record):
    """Who did what to which item, of a file that was read."""

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


class StatedItem(ItemIn):
    """Something to recommend, as a caller states it: of files it is known how times are written, here it is not."""

    created_at: StatedSeconds | None = None
    """RFC 3339 or Unix seconds; null: not known, the item is never counted as new."""


class WholeItem(StatedItem):
    """Something to recommend, as a caller inserts or replaces it."""

    vector: GivenVector | None = None
    """The vector of `title. text` by the served version's encoder, of any length but 0; null: the text is encoded."""


class StatedEvent(EventIn):
    """Who did what to which item, as a caller states it."""

    timestamp: StatedSeconds | None = None
    """RFC 3339 or Unix seconds; null: now, by the server's clock."""


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
    """Return the valid elements of `raw` with their positions, and the refused ones, both in the order of `raw`.

    `check` is called with each well-formed record. It returns the record to keep, or raises BadInput to refuse it.
    """
    refused: dict[int, Refused] = {}
    places: Sequence[int] = range(len(raw))
    for index, one in enumerate(raw):
        if isinstance(one, dict) and len(one) > FIELDS:  # otherwise each unknown field is an error of its own
            refused[index] = Refused(index, None, "bad_input", too_many_fields(kind, one))
    if refused:
        places = [index for index in places if index not in refused]
    try:
        records = _list_of(kind).validate_python([raw[index] for index in places] if refused else raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            index = places[int(detail["loc"][0])]
            if index not in refused:
                first = fault(detail, detail["loc"][1:], kind)
                refused[index] = Refused(index, first.field, first.code, first.message)
        # pydantic returns nothing of a list with errors: validate the valid elements again, all at once.
        places = [index for index in places if index not in refused]
        records = _list_of(kind).validate_python([raw[index] for index in places])
    if check is None:
        return list(zip(places, records, strict=True)), sorted(refused.values(), key=lambda one: one.index)
    kept = []
    for index, record in zip(places, records, strict=True):
        try:
            kept.append((index, check(record)))
        except BadInput as wrong:
            refused[index] = Refused(index, wrong.field, wrong.code, clipped(str(wrong)))
    return kept, sorted(refused.values(), key=lambda one: one.index)


@cache
def _list_of(kind: type[R]) -> TypeAdapter[list[R]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]
