"""The probable kind of a column, from a sample of its cells."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Literal

from recsys.reading import cells
from recsys.reading.times import TimeReading, moment, time_reading

Kind = Literal[
    "empty", "boolean", "number", "date", "datetime", "keyword", "keyword[]", "text", "image", "link", "vector"
]

_TRUE_FALSE = frozenset({"true", "false", "yes", "no", "0", "1"})
_TIME_NAME = re.compile(
    r"(^|[_.\s])(ts|time|timestamp|date|day|created|updated|published)([_.\s]|$)|(At|Date|Time)$|_at$"
)
_IMAGE = re.compile(r"\.(jpe?g|png|webp|gif|avif|svg)(\?|$)", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_TEXT_CHARS = 60
_VECTOR = 16
"""Least numbers of a list for it to be a vector rather than a list of codes."""


def kind_of(name: str, texts: Sequence[str]) -> Kind:
    """Return the kind of a column. `name`: its header; `texts`: its cells that are not empty."""
    present = [text for text in texts if not cells.is_missing(text)]
    if not present:
        return "empty"
    return _kind_of_lists(present) or _kind_of_scalars(name, present) or _kind_of_words(present)


def mostly_numbers(texts: Sequence[str]) -> bool:
    """Return whether more than half of the cells with a value are numbers: of prices some may be `on request`."""
    present = [text for text in texts if not cells.is_missing(text)]
    return bool(present) and _failures(present, cells.number) * 2 < len(present)


def _kind_of_scalars(name: str, present: Sequence[str]) -> Kind | None:
    words = {text.strip().lower() for text in present}
    if words <= {"true", "false"} or (words <= _TRUE_FALSE and len(words) > 1):
        return "boolean"
    if all(text.startswith(("http://", "https://")) for text in present):
        return "image" if sum(bool(_IMAGE.search(text)) for text in present) * 2 > len(present) else "link"
    return _kind_of_times(name, present) or ("number" if _all(present, cells.number) else None)


def _kind_of_words(present: Sequence[str]) -> Kind:
    if cells.list_separator(present) is not None:
        return "keyword[]"
    mean = sum(map(len, present)) / len(present)
    distinct = len(set(present)) / len(present)
    wordy = sum(" " in text.strip() for text in present) * 2 > len(present)
    return "text" if mean > _TEXT_CHARS or (wordy and distinct > 0.5 and len(present) > 3) else "keyword"


def _kind_of_lists(present: Sequence[str]) -> Kind | None:
    listed = [cells.literal_list_or_none(text) for text in present]
    lists = [entries for entries in listed if entries is not None]
    if len(lists) * 2 <= len(present):
        return None
    numbers = all(len(entries) >= _VECTOR and _all(entries[:_VECTOR], float) for entries in lists)
    return "vector" if numbers else "keyword[]"


def _kind_of_times(name: str, present: Sequence[str]) -> Kind | None:
    digits = all(_DIGITS.fullmatch(text.strip()) for text in present)
    reading = time_reading(present)
    if _all(present, float) and not (_TIME_NAME.search(name) or (digits and reading.unit in ("ms", "us", "ns"))):
        return None
    reading = TimeReading(reading.unit, None, reading.day_first is not False)
    if not _all(present, lambda text: moment(text, reading)):
        return None
    return "date" if all(moment(text, reading) % 86_400 == 0 for text in present) else "datetime"


def _all(texts: Sequence[str], read: Callable[[str], object]) -> bool:
    """Return whether `read` accepts at least 95 % of the cells: a few odd cells do not change a column's kind."""
    most = len(texts) // 20
    return _failures(texts, read, most) <= most


def _failures(texts: Sequence[str], read: Callable[[str], object], most: float = math.inf) -> int:
    """Return the number of cells that `read` refuses. It stops counting past `most`."""
    failed = 0
    for text in texts:
        try:
            read(text)
        except ValueError:
            failed += 1
            if failed > most:
                break
    return failed
