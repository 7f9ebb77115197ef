"""Cells of text as numbers, truth values and lists. ValueError has a message for the user."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence

import orjson

from recsys.data.canonical import canonical
from recsys.data.wording import misfit
from recsys.reading.tables import cell_text

MISSING = frozenset({"", "-", "–", "—", "n/a", "na", "null", "none", "nan", "nat", "\\n", "?", "unknown"})  # noqa: RUF001
"""What people write for a missing number, time or truth value."""
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_CURRENCY = re.compile(r"^[-+]?(?:[$€£¥₹]|[A-Z]{3}\s)\s*|\s*(?:[$€£¥₹]|\s[A-Z]{3})$")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+")
_SURELY_COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+,\d+|\d+,(\d{1,2}|\d{4,}))")
_SPACES = re.compile(r"(?<=\d)[\s\u00a0\u202f](?=\d{3}(\D|$))")
_TRUTH = {"true": True, "yes": True, "y": True, "t": True, "on": True, "1": True, "1.0": True}
_TRUTH |= {"false": False, "no": False, "n": False, "f": False, "off": False, "0": False, "0.0": False}
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_ARRAY = re.compile(r"""\[\s*(?:'[^']*'|"[^"]*")(?:\s+(?:'[^']*'|"[^"]*"))+\s*\]""")
"""Quoted words without commas, as numpy prints an array. Python would read them as one word."""
_LIST_CHARS = 100_000
"""Characters of a cell beyond which it is not parsed as a list."""


def is_missing(text: str) -> bool:
    """Return whether a cell of numbers, times or truth values means that there is no value."""
    return text.strip().lower() in MISSING


def number(text: str, *, decimal_comma: bool = False) -> float:
    """Return a number, with or without thousands separators and a currency: `1999`, `1,999`, `$25.00`, `25,00 €`."""
    stripped = text.strip()
    plain = _PLAIN.fullmatch(stripped)
    value = float(stripped) if plain else _dressed_number(stripped, text, decimal_comma)
    if not math.isfinite(value):
        raise misfit("a finite number", text)
    return value


def _dressed_number(stripped: str, text: str, decimal_comma: bool) -> float:
    sign = "-" if stripped.startswith("-") else ""
    bare = sign + _SPACES.sub("", _CURRENCY.sub("", stripped)).lstrip("+-").strip()
    if decimal_comma and _DECIMAL_COMMA.fullmatch(bare):
        return float(bare.replace(".", "").replace(",", "."))
    if _THOUSANDS.fullmatch(bare):
        return float(bare.replace(",", ""))
    if _DECIMAL_COMMA.fullmatch(bare):
        return float(bare.replace(".", "").replace(",", "."))
    if _PLAIN.fullmatch(bare):
        return float(bare)
    raise misfit("a number", text)


def has_decimal_commas(texts: Sequence[str]) -> bool:
    """Return whether a column has decimal commas. `1999,5` certainly has one; `1,999` may be thousands."""
    bare = [_SPACES.sub("", _CURRENCY.sub("", text.strip())) for text in texts]
    return any(_SURELY_COMMA.fullmatch(text) for text in bare)


def truth(text: str) -> bool:
    """Return the value of true and false, yes and no, on and off, 1 and 0, and their first letters."""
    value = _TRUTH.get(text.strip().lower())
    if value is None:
        raise misfit("true or false", text)
    return value


def whole_number(text: str) -> str:
    """Return `50` for `50.0`, else the text itself. Tools write ids this way once their column had a missing cell."""
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def is_whole_float(text: str) -> bool:
    """Return whether a text is a whole number with a decimal point, such as `50.0`."""
    return _WHOLE.fullmatch(text) is not None


def keyword(text: str) -> str:
    """Return one keyword. A list of one entry is that entry; a longer one is a ValueError."""
    listed = literal_list(text)
    if listed is None:
        return canonical(text)
    if len(listed) != 1:
        raise ValueError(f"holds a list of {len(listed)}; declare it as keyword[]")
    return listed[0]


def keywords(text: str, separator: str = "|") -> list[str]:
    """Return the entries of a list, written in JSON, as Python or numpy print it, or with separators. Empty entries are
    left out.
    """
    listed = literal_list(text)
    if listed is None:
        listed = [canonical(part) for part in text.split(separator)]
    return [entry for entry in listed if entry]


def literal_list(text: str) -> list[str] | None:
    """Return the entries of `["a", "b"]`, `['a', 'b']`, `['a' 'b']` or `{a,b}`. None: it is not such a list."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")) or len(stripped) > _LIST_CHARS:
        if stripped.startswith("{") and stripped.endswith("}") and ":" not in stripped:  # as PostgreSQL writes one
            return [canonical(part.strip().strip('"')) for part in stripped[1:-1].split(",")]
        return None
    if _ARRAY.fullmatch(stripped):
        return [canonical(quoted[1:-1]) for quoted in re.findall(r"""'[^']*'|"[^"]*\"""", stripped)]
    try:
        value = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        try:
            value = ast.literal_eval(stripped)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(value, list):
        return None
    if any(isinstance(entry, dict | list | tuple) for entry in value):
        raise ValueError("must be a list of strings, as declared, not a list of objects; name the field within them")
    return [canonical(entry) for entry in map(cell_text, value) if entry is not None]


def list_separator(texts: Sequence[str]) -> str | None:
    """Return the separator of a column's lists. None: no separator is certain, and each cell is one keyword.

    `|` always separates. A comma, `;` or `/` separates when the parts repeat across cells, also alone, as genres do.
    """
    plain = [text for text in texts if literal_list_or_none(text) is None]
    if any("|" in text for text in plain):
        return "|"
    for separator in (",", ";", "/"):
        cells = [[canonical(part) for part in text.split(separator)] for text in plain]
        joined = [cell for cell in cells if len(cell) > 1]
        parts = [part for cell in cells for part in cell if part]
        alone = {cell[0] for cell in cells if len(cell) == 1}
        often = len(set(parts)) * 4 <= len(parts)
        short = all(len(part) <= 40 for part in parts)
        if len(cells) >= 20 and len(joined) * 10 >= len(cells) and often and short:
            joined_parts = {part for cell in joined for part in cell}
            if not alone or len(alone & joined_parts) * 2 >= len(alone):
                return separator
    return None


def may_be_list(texts: Sequence[str]) -> tuple[str, str] | None:
    """Return a possible separator and a cell that has it, for a column without `|`. None: there is none."""
    plain = [text for text in texts if "|" not in text and literal_list_or_none(text) is None]
    return next(((sign, text) for sign in (",", ";") for text in plain if f"{sign} " in text), None)


def literal_list_or_none(text: str) -> list[str] | None:
    """Return `literal_list`, or an empty list where it raises."""
    try:
        return literal_list(text)
    except ValueError:
        return []
