"""Messages for invalid input, the same for a body, a query string, a bulk list and a file.

pydantic finds the faults. Here each gets the field's path as users write it, a stable code, and a message that names
the field, the limit and the fix. The messages are valid UTF-8, whatever the input contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SerializeAsAny, ValidationError

from recsys.errors import BadInput

TOLD = 20
"""Faults of one input that are listed. Their total number is given as well."""
_MESSAGE_CHARS = 400
_NAMES_CHARS = 240
"""Characters of a list of names in a message."""

_WORDS = {  # messages for pydantic's error types; {input} is the value, the other names come from the error
    "missing": "is missing",
    "model_type": "must be an object with named fields, not {input}",
    "model_attributes_type": "must be an object with named fields, not {input}",
    "dict_type": "must be an object with named fields, not {input}",
    "list_type": "must be a list, not {input}",
    "too_long": "holds more than {max_length} entries; at most {max_length} are allowed: send fewer",
    "too_short": "is empty; give at least {min_length} entry",
    "string_type": "must be a string, not {input}",
    "string_too_short": "is empty; give at least one character",
    "string_too_long": "has more than {max_length} characters; shorten it",
    "string_pattern_mismatch": "{input} holds a control character; remove it",
    "string_unicode": "holds a lone surrogate, which UTF-8 cannot carry; remove it",
    "float_type": "must be a finite number, not {input}",
    "float_parsing": "must be a finite number, not {input}",
    "finite_number": "must be a finite number, not {input}",
    "int_type": "must be a whole number, not {input}",
    "int_parsing": "must be a whole number, not {input}",
    "int_parsing_size": "must be a whole number of at most 64 bits, not {input}",
    "int_from_float": "must be a whole number, not {input}",
    "bool_type": "must be true or false, not {input}",
    "bool_parsing": "must be true or false, not {input}",
    "greater_than_equal": "must be at least {ge}, not {input}",
    "less_than_equal": "must be at most {le}, not {input}",
    "greater_than": "must be over {gt}, not {input}",
    "less_than": "must be under {lt}, not {input}",
    "literal_error": "must be {expected}, not {input}",
    "json_invalid": "is no JSON: {error}",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an input."""

    field: str | None
    """The path as users write it, such as `filter.must[0].key`. None: the input as a whole."""
    code: str
    """Stable: bad_input, missing or unknown_field."""
    message: str
    """Names the field, the limit and the fix, in one line."""


class Invalid(BadInput):
    """Input with faults. `faults`: the first TOLD, in the order of the input. `count`: the number of all."""

    faults: Sequence[Fault] = ()
    count: int = 0


def refusal(
    errors: ValidationError | Sequence[Mapping[str, Any]],
    kind: type[BaseModel] | None = None,
    *,
    inside: tuple[str | int, ...] = (),
    whole: str = "body",
) -> Invalid:
    """Return the exception for a validation error of `kind`.

    `inside`: the position of `kind` within the input. `whole`: the name of the input, used where no field is named.
    """
    details = errors.errors(include_url=False) if isinstance(errors, ValidationError) else errors
    faults = [fault(error, tuple(error["loc"]), kind, inside=inside, whole=whole) for error in details[:TOLD]]
    wrong = Invalid(faults[0].message, field=faults[0].field, code=faults[0].code)
    wrong.faults, wrong.count = faults, len(details)
    return wrong


def first_fault(
    error: ValidationError, kind: type[BaseModel] | None = None, *, inside: tuple[str | int, ...] = (), whole: str
) -> BadInput:
    """Return the exception for a file: in one line the first fault, and how many more there are."""
    wrong = refusal(error, kind, inside=inside, whole=whole)
    more = f" (and {wrong.count - 1} more)" if wrong.count > 1 else ""
    return BadInput(f"{wrong}{more}", field=wrong.field, code=wrong.code)


def fault(
    error: Mapping[str, Any],
    loc: tuple[int | str, ...],
    kind: type[BaseModel] | None = None,
    *,
    inside: tuple[str | int, ...] = (),
    whole: str | None = None,
) -> Fault:
    """Return the fault of one pydantic error. `loc`: its position within `kind`; `whole`: see `refusal`."""
    field = path((*inside, *loc)) or whole
    code, what = _reason(error, kind, loc)
    return Fault(field, code, clipped(what if field is None else f"{field}: {what}"))


def _reason(error: Mapping[str, Any], kind: type[BaseModel] | None, loc: tuple[int | str, ...]) -> tuple[str, str]:
    if error["type"] == "extra_forbidden":
        names = listed(_fields_at(kind, loc[:-1]))
        return "unknown_field", f"is not known; the fields are {names}" if names else "is not known; leave it out"
    code = "missing" if error["type"] == "missing" else "bad_input"
    context = error.get("ctx") or {}
    if error["type"] == "value_error":
        return code, printable(str(context["error"]))
    words = _WORDS.get(error["type"])
    if error["type"] == "string_pattern_mismatch" and "x00" not in context.get("pattern", "x00"):
        words = "{input} is no such name; it has to match {pattern}"
    if words is None:
        return code, printable(str(error["msg"]))
    return code, words.format(input=shown(error["input"]), **{name: printable(str(v)) for name, v in context.items()})


def _fields_at(kind: type[BaseModel] | None, loc: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the object at `loc`. Empty: its model cannot be determined."""
    named = True  # whether the next string is the name of a field, and not the key of a mapping
    for part in loc:
        if not isinstance(part, str) or kind is None:
            continue
        if not named:
            named = True
            continue
        field = kind.model_fields.get(part)
        # The value of such a field may be of a subclass, which has further fields.
        if field is None or any(isinstance(one, SerializeAsAny) for one in field.metadata):  # type: ignore[misc]
            return []
        named = get_origin(field.annotation) is not dict
        kind = next(_models(field.annotation), None)
    return [] if kind is None else list(kind.model_fields)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def path(loc: Sequence[int | str]) -> str:
    """Return a position as users write it, such as `filter.must[0].key`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(part[:64])}" for part in loc)
    return "".join(parts).removeprefix(".")


def shown(value: object) -> str:
    """Return a value for a one-line message: at most 80 characters, with control characters escaped."""
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a number of over 64 bits"  # Python refuses to print the longest ones
    text = repr(value[:80]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def printable(text: str) -> str:
    """Return the text with lone surrogates escaped, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """Return the text with control characters and lone surrogates escaped. Names of columns may hold line ends."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clipped(message: str) -> str:
    """Return the message, cut to _MESSAGE_CHARS characters."""
    return message if len(message) <= _MESSAGE_CHARS else f"{message[: _MESSAGE_CHARS - 1]}…"


def listed(names: Iterable[str]) -> str:
    """Return `a, b, c`, or the first names and the number of the others when they are too long."""
    every = list(names)
    text = ", ".join(every)
    if len(text) <= _NAMES_CHARS:
        return text
    first = text[:_NAMES_CHARS].rpartition(", ")[0]
    return f"{first} and {len(every) - first.count(', ') - 1} more"


def misfit(expected: str, value: object) -> ValueError:
    """Return the error for a value of another type than `expected`."""
    return ValueError(f"must be {expected}, not {shown(value)}")


def undeclared(field: str, declared: Iterable[str], name: str | None = None, *, under: str = "attributes") -> BadInput:
    """Return the error for an undeclared attribute of an item, a user, a request or a filter.

    `name` None: the field's path already ends with it. `under`: where in `args` it would be declared.
    """
    return BadInput(
        f"{field}: {'' if name is None else shown(name) + ' '}is not declared; declared are: "
        f"{listed(declared) or 'none'}; "
        f"add it under args.{under} of the config file",
        field=field,
        code="undeclared_attribute",
    )
