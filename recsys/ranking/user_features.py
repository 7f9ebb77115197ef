"""What is known of users as features of the trees.

`user.age` is a number or a boolean, `user.country=de` whether a keyword has the value. What is not known is 0. The
names stand in the model, so it brings the values that it was trained on. They are percent-encoded, for LightGBM takes
no brackets, colons or commas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import numpy as np

from recsys.datatypes import AttributeValue, Floats

Attributes = Mapping[str, AttributeValue]

PREFIX = "user."
_MOST = 32
"""Features of users: each costs a batch some microseconds."""
_LEAST = 0.02
"""Share of the users who must have a value for trees to look at it: of fewer they would learn by heart."""


def names_of(users: Sequence[Attributes]) -> tuple[str, ...]:
    """Return the features of these users, the most frequent first."""
    counts = Counter(name for attributes in users for name in _values(attributes))
    return tuple(name for name, count in counts.most_common(_MOST) if count >= _LEAST * len(users))


def table(names: Sequence[str], users: Sequence[Attributes]) -> Floats:
    """Return (users, names) float32."""
    columns = {name: column for column, name in enumerate(names)}
    filled = np.zeros((len(users), len(names)), np.float32)
    for row, attributes in enumerate(users):
        for name, value in _values(attributes).items():
            if name in columns:
                filled[row, columns[name]] = value
    return filled


def _values(attributes: Attributes) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, value in attributes.items():
        if isinstance(value, str | list):
            for one in [value] if isinstance(value, str) else value:
                values[f"{PREFIX}{quote(name, safe='')}={quote(one, safe='')}"] = 1.0
        else:
            values[PREFIX + quote(name, safe="")] = float(value)
    return values
