"""The vectors of a catalogue's texts, in a file where there are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.passages import Passages, first_places
from recsys.datatypes import Floats, Item, Rows
from recsys.encoders.base import Encoder
from recsys.encoders.catalogue import Progress, encode

_BLOCK = 1 << 12
"""Items looked at at a time."""
IN_MEMORY = 1 << 26
"""Bytes of vectors up to which they are in memory. More are in a map of a file, which the kernel may drop."""


def text_vectors(
    items: Sequence[Item], encoded: Mapping[str, Floats], encoder: Encoder, folder: Path, progress: Progress
) -> Floats:
    """(n, d) float32 of the items' texts: those of `encoded`, and of the others by the encoder.

    Each distinct text is encoded once. An encoder's output depends slightly on the other texts of its batch, and items
    with equal texts must have equal vectors. What is encoded is stored in `folder`; the vectors are there as well where
    they are many, and may be read when it is gone.
    """
    vectors = _room(folder, len(items), encoder.dimension)
    first = first_places(items)
    own = first == np.arange(len(items))
    places = np.flatnonzero(own)
    if encoded:
        places = places[~_taken(vectors, items, places, encoded)]
    for part, some in encode(encoder, Passages(items, places), folder, progress):
        vectors[places[part]] = some
    again = np.flatnonzero(~own)
    for start in range(0, len(again), _BLOCK):
        some_again = again[start : start + _BLOCK]
        vectors[some_again] = vectors[first[some_again]]
    return vectors


def in_memory(count: int, dimension: int) -> bool:
    """Whether so many vectors are."""
    return count * dimension * 4 <= IN_MEMORY


def _taken(
    vectors: Floats, items: Sequence[Item], places: Rows, encoded: Mapping[str, Floats]
) -> npt.NDArray[np.bool_]:
    """(len(places),) bool: of which items the text was encoded already; their vectors are filled in."""
    taken = np.zeros(len(places), bool)
    passages = Passages(items, places)
    for start in range(0, len(places), _BLOCK):
        for at, passage in enumerate(passages[start : start + _BLOCK], start):
            vector = encoded.get(passage)
            if vector is not None:
                vectors[places[at]] = vector
                taken[at] = True
    return taken


def _room(folder: Path, count: int, dimension: int) -> Floats:
    if in_memory(count, dimension):
        return np.zeros((count, dimension), np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    vectors: Floats = np.lib.format.open_memmap(folder / "all.npy", "w+", np.float32, (count, dimension))
    return vectors
