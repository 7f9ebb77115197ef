"""Cells of text as times.

A number's size determines its unit, since the plausible ranges do not overlap: years, Excel's day numbers, days such as
20230615, and seconds to nanoseconds from 1973 to 2286. Other texts are read by the formats below. A date whose day and
month could be swapped is refused until a format is given.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from recsys.data.plausible_times import EXCEL_EPOCH, day_of_digits, unit_by_look
from recsys.data.records import unix_seconds
from recsys.data.wording import misfit, shown
from recsys.reading.cells import is_missing
from recsys.reading.dialect import TimeUnit

_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SINCE_1973 = 10**8
"""Least Unix seconds. A smaller number, 1970 to 1973, is more probably not a time."""
_UNTIL_2286 = 10**10
PLAIN_SECONDS = r"^[1-9]\d{8,9}$"
"""Whole Unix seconds of 1973 to 2286: what most event files hold, and in any column of seconds nothing else."""
_DAY_S = 86_400
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ISO = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?![-/.\d])")
_ZONE = re.compile(r"\s*(UTC|GMT)$")
_NUMERIC = re.compile(
    r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})(?:[ ,T]+(\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?))?"
)
_WORDS = (
    "%B %d, %Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%B %d %Y",
    "%b %d %Y",
    "%m %d, %Y",
    "%B %Y",
    "%b %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %Z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%B %d, %Y %H:%M:%S",
    "%b %d, %Y %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y%m%dT%H%M%SZ",
    "%Y%m%dT%H%M%S",
)
"""Formats such as `September 25, 2021` and those of e-mail and web servers. No text has two meanings by them."""
_CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p", "%I:%M:%S%p")
_AMBIGUOUS = "could be day or month first; say --time-format %d/%m/%Y or %m/%d/%Y, as it is written"


@dataclass(frozen=True, slots=True)
class TimeReading:
    """How the times of a column are written."""

    unit: TimeUnit | None = None
    """Unit of all numbers. None: each number's size determines its unit."""
    format: str | None = None
    """Format as for `strptime`. None: any of the formats of this module."""
    day_first: bool | None = None
    """Whether `01/02/2023` begins with the day. None: it cannot be determined."""


def unit_of(value: float) -> TimeUnit | None:
    """Return the only unit in which a number is a plausible time. None: there is none."""
    if not math.isfinite(value):
        return None
    size = abs(value)
    for unit, per_second in _PER_SECOND.items():
        if _SINCE_1973 * per_second <= size < _UNTIL_2286 * per_second and (unit == "s" or size >= 10 * _SINCE_1973):
            return unit
    return unit_by_look(value)


def time_reading(texts: Sequence[str], unit: TimeUnit | None = None, form: str | None = None) -> TimeReading:
    """Return how the times of a column are written, from some of its cells. `unit` and `form`: the user's options."""
    numbers = [float(text) for text in map(str.strip, texts) if _NUMBER.fullmatch(text)]
    units = Counter(likely for value in numbers if (likely := unit_of(value)) in _PER_SECOND)
    if unit is None and units:
        # Most numbers decide for the column, so that seconds of 1970 are plausible among others.
        most, often = units.most_common(1)[0]
        unit = most if often * 2 >= len(numbers) else None
    days = [(int(parts[1]), int(parts[3])) for text in texts if (parts := _NUMERIC.fullmatch(text.strip()))]
    first, second = any(day > 12 for day, _ in days), any(day > 12 for _, day in days)
    return TimeReading(unit, form, first if first != second else None)


def moment(text: str, reading: TimeReading = TimeReading()) -> float:
    """Return Unix seconds. A time without an offset is UTC. Raises ValueError with a message that names the fix."""
    stripped = text.strip()
    if reading.format is not None:
        try:
            return unix_seconds(datetime.strptime(stripped, reading.format))  # noqa: DTZ007 - UTC where none is given
        except ValueError:
            raise ValueError(f"{shown(text)} is not of --time-format {reading.format}") from None
    if _NUMBER.fullmatch(stripped):
        return _from_number(stripped, reading.unit)
    if _ISO.match(stripped):
        return _from_iso(_ZONE.sub("+00:00", stripped), text)
    if numeric := _NUMERIC.fullmatch(stripped):
        return _from_numeric(numeric, text, reading)
    return _from_words(stripped, text)


def _from_number(text: str, unit: TimeUnit | None) -> float:
    value: float = float(text)
    if not math.isfinite(value):
        raise misfit("a time such as 2026-01-31T12:00:00Z or Unix seconds", text)
    if text.lstrip("+-").isdecimal():
        value = int(text)
    if value == int(value):
        value = int(value)  # so that 1700000000123 and 1.700000000123e12 are the same time
    unit = unit or unit_of(value)
    if unit is None:
        raise ValueError(
            f"{shown(text)} is a plausible time in no unit; say which one it has with --time-unit s, ms, us, ns, "
            "excel, year or yyyymmdd"
        )
    if unit in _PER_SECOND:
        return unix_seconds(value / _PER_SECOND[unit])
    if unit == "excel":
        return unix_seconds(EXCEL_EPOCH.timestamp() + value * _DAY_S)
    try:
        day = date(int(value), 1, 1) if unit == "year" else day_of_digits(int(value))
    except (ValueError, OverflowError):
        day = None
    if day is None:
        raise ValueError(f"{shown(text)} is no {'year such as 2023' if unit == 'year' else 'day such as 20230615'}")
    return unix_seconds(day)


def _from_iso(text: str, original: str) -> float:
    day, gap, rest = text.replace("/", "-").partition(" ") if " " in text else text.upper().partition("T")
    parts = re.split(r"[-/.]", day)
    if len(parts) == 3:
        whole = f"{parts[0]}-{parts[1]:0>2}-{parts[2]:0>2}{'T' if gap else ''}{rest.strip().replace(' ', '')}"
        try:
            return unix_seconds(datetime.fromisoformat(whole.upper()))
        except ValueError:
            pass
    raise misfit("a time such as 2026-01-31T12:00:00Z", original)


def _from_numeric(parts: re.Match[str], text: str, reading: TimeReading) -> float:
    one, sign, two, year, clock = parts.groups()
    day_first = True if sign == "." else reading.day_first
    if int(one) > 12 or int(two) > 12:
        day_first = int(one) > 12
    elif day_first is None and int(one) != int(two):
        raise ValueError(f"{shown(text)} {_AMBIGUOUS}")
    day, month = (one, two) if day_first or day_first is None else (two, one)
    whole = int(year) + (0 if len(year) == 4 else 2000 if int(year) < 70 else 1900)
    try:
        return unix_seconds(date(whole, int(month), int(day))) + (_clock(clock) if clock else 0.0)
    except ValueError:
        raise misfit("a time such as 2026-01-31T12:00:00Z", text) from None


def _clock(text: str) -> float:
    """Return seconds since midnight. Raises ValueError for another format."""
    for form in _CLOCKS:
        try:
            clock = datetime.strptime(text.upper(), form).time()  # noqa: DTZ007
        except ValueError:
            continue
        return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6
    raise ValueError(text)


def _from_words(stripped: str, text: str) -> float:
    for form in _WORDS:
        try:
            return unix_seconds(datetime.strptime(stripped, form))  # noqa: DTZ007 - UTC where none is given
        except ValueError:
            continue
    raise ValueError(
        f"must be a time such as 2026-01-31T12:00:00Z or Unix seconds, not {shown(text)}; "
        "say how it is written with --time-format, such as '%d/%m/%Y %H:%M'"
    )


def note_on_numbers(texts: Sequence[str]) -> str | None:
    """Return a note on the units of a column's numbers. None: they are seconds, or there are none."""
    present = [text.strip() for text in texts if not is_missing(text)]
    examples: dict[str, str] = {}
    for text in present:
        unit = unit_of(float(text)) if _NUMBER.fullmatch(text) else None
        if unit is not None and unit != "s":
            examples.setdefault(unit, text)
    if not examples:
        return None
    read = ", ".join(f"{text} as {_UNIT_NAMES[unit]}" for unit, text in examples.items())
    return f"numbers are read by their size, such as {read}; if they are something else, say so with --time-unit"


_UNIT_NAMES = {
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "excel": "a day number of Excel",
    "year": "1 January of that year",
    "yyyymmdd": "a day in digits (YYYYMMDD)",
}
