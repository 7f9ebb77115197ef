"""Bounds of what comes from outside, held before its parts are looked at.

A body of eight megabytes can hold three million values. Each that is looked at costs a microsecond and more, and each
that is wrong ten times that. So a body that holds too many of them is refused by counting, and a list or an object that
is too long by its length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from recsys.data.wording import listed

FIELDS = 64
"""Fields of one object; the largest of ours has 9."""
KEYWORDS = 256
"""Entries of one attribute that is a list."""
KEYWORD_CHARS = 256
VALUES_EACH = 512
"""Values that a body may hold for each element that `limits.bulk` allows: those of an item of two full lists."""
VALUES_ONE = FIELDS * (KEYWORDS + 2) + 2 * FIELDS
"""Values that a body may hold whatever `limits.bulk` is: those of an item all of whose attributes are full lists."""


class Bounded(BaseModel):
    """An object that is not looked at when it has more fields than any of ours."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > FIELDS:
            raise ValueError(too_many_fields(cls, given))
        return given


def too_many_fields(kind: type[BaseModel], given: dict[Any, Any]) -> str:
    return f"has {len(given)} fields; the fields are {listed(kind.model_fields)}"


def values_in(body: bytes, limit: int) -> int:
    """How many values and objects and lists a JSON text holds, where that is over `limit`; else a number up to it.

    The text need not be JSON. Costs 0.1 s for 8 MiB, and a tenth of that where there are few commas and brackets.
    """
    most = body.count(b",") + body.count(b"[") + body.count(b"{") + 1
    if most <= limit:
        return most
    # What stands in strings does not count. Without escapes, every quote begins or ends one.
    plain = body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in body else body
    marks = np.frombuffer(plain, np.uint8)
    outside = (np.cumsum(marks == ord('"'), dtype=np.uint8) & 1) == 0
    counted = (marks == ord(",")) | (marks == ord("[")) | (marks == ord("{"))
    return int(np.count_nonzero(counted & outside)) + 1
