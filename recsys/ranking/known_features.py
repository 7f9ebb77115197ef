"""What is known beside events as features of the trees: of users, and of the moment of a request.

`user.age` is a number or a boolean, `user.country=de` whether a keyword has the value, `context.device=phone` the same
of the request. What is not known is 0. The names stand in the model, so it brings the values that it was trained on.
They are percent-encoded, for LightGBM takes no brackets, colons or commas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np

from recsys.datatypes import AttributeValue, Floats

Attributes = Mapping[str, AttributeValue]

USER, CONTEXT = "user.", "context."
PREFIXES = (USER, CONTEXT)
_NOTHING: Attributes = {}
_MOST = 32
"""Features of users, and as many of moments: each costs a batch some microseconds."""
_LEAST = 0.02
"""Share of the users, or of the moments, that must have a value for trees to look at it: of fewer they would learn by
heart."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a training knows beside events."""

    users: Mapping[str, Attributes] = field(default_factory=dict)
    """Attributes by user. Users of whom nothing is known are not in it."""
    moments: Mapping[tuple[str, str], Attributes] = field(default_factory=dict)
    """Context by user and item: of the request whose answer led to the user's newest event about the item."""

    def moment(self, user: str, items: Iterable[str]) -> Attributes:
        """Return the context of the first of these items that has one."""
        if not self.moments:
            return _NOTHING
        return next((self.moments[user, item] for item in items if (user, item) in self.moments), _NOTHING)


NOTHING = Known()


def told_apart(attributes: Attributes, context: Attributes) -> Attributes:
    """Return both under the names of features."""
    return {**_prefixed(USER, attributes), **_prefixed(CONTEXT, context)}


def names_of(rows: Sequence[Attributes], prefix: str = USER) -> tuple[str, ...]:
    """Return the features of these users, or moments, the most frequent first."""
    counts = Counter(name for attributes in rows for name in _values(_prefixed(prefix, attributes)))
    return tuple(name for name, count in counts.most_common(_MOST) if count >= _LEAST * len(rows))


def table(names: Sequence[str], rows: Sequence[Attributes]) -> Floats:
    """Return (rows, names) float32 of what `told_apart` gives."""
    columns = {name: column for column, name in enumerate(names)}
    filled = np.zeros((len(rows), len(names)), np.float32)
    for row, attributes in enumerate(rows):
        for name, value in _values(attributes).items():
            if name in columns:
                filled[row, columns[name]] = value
    return filled


def _prefixed(prefix: str, attributes: Attributes) -> dict[str, AttributeValue]:
    return {prefix + name: value for name, value in attributes.items()}


def _values(attributes: Attributes) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, value in attributes.items():
        if isinstance(value, str | list):
            for one in [value] if isinstance(value, str) else value:
                values[f"{quote(name, safe='')}={quote(one, safe='')}"] = 1.0
        else:
            values[quote(name, safe="")] = float(value)
    return values
