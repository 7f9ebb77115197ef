"""Bounds of outside input that are checked before its values.

A body of eight megabytes can hold three million values. Checking a value costs a microsecond or more, and ten times
that when it is wrong. So a body with too many values is refused by their count, and a list or an object that is too
long by its length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from recsys.config.described import Described
from recsys.data.wording import listed

FIELDS = 64
"""Fields of one object. The largest model of the API has 9."""
KEYWORDS = 256
"""Entries of one `keyword[]` attribute."""
KEYWORD_CHARS = 256
"""Characters of one keyword."""
VALUES_EACH = 512
"""Values in a body for each element that `limits.bulk` allows: enough for an item with two full lists."""
VALUES_ONE = FIELDS * (KEYWORDS + 2) + 2 * FIELDS
"""Values in a body, whatever `limits.bulk` is: enough for an item whose attributes are all full lists."""


class Bounded(Described):
    """A model that refuses an object of more than FIELDS fields before it validates them."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > FIELDS:
            raise ValueError(too_many_fields(cls, given))
        return given


def too_many_fields(kind: type[BaseModel], given: dict[Any, Any]) -> str:
    """Return the message for an object of too many fields, with the fields that `kind` has."""
    return f"has {len(given)} fields; the fields are {listed(kind.model_fields)}"


def values_in(body: bytes, limit: int) -> int:
    """Return the number of values, objects and lists in a JSON text if it is over `limit`, else some number up to it.

    The text need not be valid JSON. It takes 0.1 s for 8 MiB, and a fiftieth of that with few commas and brackets.
    """
    if len(body) < limit:
        return len(body)
    commas = np.count_nonzero(np.frombuffer(body, np.uint8) == ord(","))  # `count` is slow where they stand close
    most = int(commas) + body.count(b"[") + body.count(b"{") + 1
    if most <= limit:
        return most
    # Marks inside strings do not count. Once escapes are replaced, every quote begins or ends a string.
    plain = body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in body else body
    marks = np.frombuffer(plain, np.uint8)
    outside = (np.cumsum(marks == ord('"'), dtype=np.uint8) & 1) == 0
    counted = (marks == ord(",")) | (marks == ord("[")) | (marks == ord("{"))
    return int(np.count_nonzero(counted & outside)) + 1
