"""Which numbers are no seconds, though they could be read as such, and how far ahead a moment may lie."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal

AHEAD_S = 366 * 86_400
"""Seconds by which `created_at` may be in the future: an announcement may, a placeholder such as 2099 may not."""
_SINCE_1973 = 10**8
_YEARS = (1800, 2200)
_EXCEL_DAYS = (20_000, 80_000)
"""1954 to 2119."""
EXCEL_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
"""Excel's day 1 is 1900-01-01, and it counts a 29 February 1900 that did not exist."""

Unit = Literal["excel", "year", "yyyymmdd"]


def unit_by_look(value: float) -> Unit | None:
    """What a number looks like that, as seconds, would be of 1970: a year, a day number of Excel, a day in digits.

    None: like nothing of that.
    """
    if value == int(value) and _YEARS[0] <= value <= _YEARS[1]:
        return "year"
    if _EXCEL_DAYS[0] <= value <= _EXCEL_DAYS[1]:
        return "excel"
    return "yyyymmdd" if value == int(value) and day_of_digits(int(value)) is not None else None


def day_of_digits(value: int) -> date | None:
    """The day or second that 20230615 or 20230615123000 stands for; None: no such."""
    text = str(value)
    try:
        if len(text) == 8 and text[:2] in ("18", "19", "20", "21"):
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        if len(text) == 14 and text[:2] in ("19", "20"):
            return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        pass
    return None


def refuse_other_unit(value: object) -> None:
    """Raises ValueError for a number, or a numeral, of another unit than seconds. The message has the fix."""
    number = _number(value)
    unit = None if number is None else unit_by_look(number)
    if number is None or unit is None:
        return
    raise ValueError(
        f"{number:.15g} looks like {_NAMES[unit]}, and as Unix seconds it would be of 1970: give RFC 3339, such as "
        f"{_meant(unit, number):%Y-%m-%d}T00:00:00Z"
    )


def _meant(unit: Unit, value: float) -> date:
    if unit == "excel":
        return EXCEL_EPOCH + timedelta(days=value)
    return (unit == "yyyymmdd" and day_of_digits(int(value))) or date(int(value), 1, 1)


def _number(value: object) -> float | None:
    """Of what could be seconds of 1970; None: it is no number or numeral, or a larger one."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) <= 8 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _SINCE_1973 else None


_NAMES: dict[Unit, str] = {
    "excel": "a day number of Excel",
    "year": "a year",
    "yyyymmdd": "a day written as digits",
}
