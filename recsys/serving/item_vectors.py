"""Vectors of items that are written: those that came with them, and the encoder's for the others.

A few of those that came are compared with the encoder's own, so that vectors of another model are refused and not
indexed. Where no encoder answers, they are taken as they are: items with vectors can be written without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from recsys.config.serving import Serving
from recsys.data.given_vectors import Wide, refuse_others, spread, unit
from recsys.datatypes import Floats, Item
from recsys.errors import Unavailable
from recsys.ranking.served_version import Serve
from recsys.serving.encoder_calls import Encode, within

COMPARED = 4
"""Vectors of one call that are compared, evenly spread: the encoder has some milliseconds of work with so many."""
_TOGETHER = 200
"""Given vectors between two turns of the event loop: half a millisecond."""


async def vectors_of(
    items: Sequence[Item], given: Mapping[int, Wide], serve: Serve, encode: Encode, settings: Serving
) -> Floats:
    """Return (n, d) float32 unit vectors of the items' texts. `given`: (d,) by place in `items`.

    Raises BadInput for given vectors of another encoder, and Unavailable when texts are to be encoded and no encoder
    answers.
    """
    texts = [item.passage() for item in items]
    if not given:
        return await within(settings.write_budget_s, encode(serve.version, texts))
    places = sorted(given)
    vectors = np.empty((len(items), serve.space.text), np.float32)
    for start in range(0, len(places), _TOGETHER):
        some = places[start : start + _TOGETHER]
        vectors[some] = unit(np.stack([given[place] for place in some]))
        await asyncio.sleep(0)
    await _compare(vectors, texts, [places[at] for at in spread(len(places), COMPARED)], serve, encode, settings)
    if others := [place for place in range(len(items)) if place not in given]:
        encoding = encode(serve.version, [texts[place] for place in others])
        vectors[others] = await within(settings.write_budget_s, encoding)
    return vectors


async def _compare(
    vectors: Floats, texts: Sequence[str], sample: Sequence[int], serve: Serve, encode: Encode, settings: Serving
) -> None:
    """Raise BadInput when the vectors at the places of `sample` are not like the encoder's own."""
    try:
        own = await within(settings.budget_s, encode(serve.version, [texts[place] for place in sample]))
    except Unavailable:
        return
    refuse_others(vectors[list(sample)], own, "name their model under encoder, or leave vectors out")
