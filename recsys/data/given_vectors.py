"""Vectors that come with items, in a file or over HTTP, instead of being encoded from the items' texts.

They must come from the encoder of the version that takes them. That encoder also encodes queries and other items, and
only vectors of one encoder can be compared.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import PlainValidator

from recsys.data.wording import misfit
from recsys.datatypes import Floats, Rows
from recsys.errors import BadInput

VECTOR = "vector"
"""The field of an item, and the column of a file."""
AGREEMENT = 0.95
"""Least mean cosine between given vectors and the encoder's own. Exports of one model in float32 and int8 reach 0.99
and more; vectors of another model are near 0."""
NOT_FINITE = "holds a number that is not finite"
ALL_ZEROS = "is all zeros and has no direction"
_ANEW = "compute it anew"
_NUMBERS = frozenset({int, float})

Wide = npt.NDArray[np.float64]


def _numbers(given: object) -> Wide:
    """(d,) float64 of a JSON list. Raises ValueError with a message for the client."""
    if not isinstance(given, list):
        raise misfit("a list of numbers", given)
    if not _NUMBERS.issuperset(map(type, given)):
        at, wrong = next((at, one) for at, one in enumerate(given) if type(one) not in _NUMBERS)
        raise ValueError(f"its entry {at} {misfit('a finite number', wrong)}")
    try:
        wide = np.array(given, np.float64)
    except OverflowError:  # a whole number of over 308 digits
        raise ValueError(f"{NOT_FINITE}; {_ANEW}") from None
    if not np.isfinite(wide).all():
        raise ValueError(f"{NOT_FINITE}; {_ANEW}")
    if not wide.any():
        raise ValueError(f"{ALL_ZEROS if len(wide) else 'is empty'}; {_ANEW}")
    return wide


GivenVector = Annotated[Any, PlainValidator(_numbers, json_schema_input_type=list[float])]
"""(d,) float64, finite and not all zeros."""


def check_length(vector: Wide, dimension: int) -> None:
    """Raise BadInput for a vector that has not `dimension` numbers."""
    if len(vector) != dimension:
        raise BadInput(
            f"{VECTOR}: has {len(vector)} numbers, and the served version's encoder makes {dimension}: give one of "
            "that encoder (encoder.dimension), or leave it out and the text is encoded",
            field=VECTOR,
        )


def unit(wide: Wide) -> Floats:
    """Return (n, d) vectors, none of them all zeros, as float32 of length 1, as the encoder's are."""
    scaled = wide / np.abs(wide).max(axis=1, keepdims=True)  # first, since the square of a large number may overflow
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), np.float32)


def spread(count: int, most: int) -> Rows:
    """Return at most `most` places among `count`, evenly spread: those that are compared with the encoder."""
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64)) if count else np.zeros(0, np.int64)


def refuse_others(given: Floats, own: Floats, fix: str) -> None:
    """Raise BadInput when (n, d) given vectors are not like the encoder's own of the same texts. `fix`: ends the
    message.
    """
    cosine = float((given * own).sum(axis=1).mean())
    if not cosine >= AGREEMENT:  # a NaN fails as well
        raise BadInput(
            f"{VECTOR}: of {len(given)} texts the given vectors have a mean cosine of {cosine:.3f} to those of the "
            f"encoder, under {AGREEMENT}; they must come from it, of the text `title. text`: {fix}",
            field=VECTOR,
        )
