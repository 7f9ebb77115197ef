"""Vectors of items that are written: those that came with them, and the encoder's for the others.

A few of those that came are compared with the encoder's own, so that vectors of another model are refused and not
indexed. Where no encoder answers, they are taken as they are: items with vectors can be written without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config.serving import Serving
from recsys.data.given_vectors import Wide, refuse_others, spread, unit
from recsys.datatypes import Floats, Item
from recsys.errors import Unavailable
from recsys.ranking.served_version import Serve
from recsys.serving.encoder_calls import Encode, within

COMPARED = 4
"""Vectors of one call that are compared, evenly spread: the encoder has some milliseconds of work with so many."""
_TOGETHER = 100
"""Given vectors between two turns of the event loop: half a millisecond."""
_PART = 200
"""Texts of one call to the encoder: those of a part are written while the next ones are encoded. Fewer are there a
little sooner, and cost shards and Redis more trips."""
_AHEAD = 5
"""Parts of one write that the encoder has at a time: it is never without work, and its queue has room for others."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The vectors of a write, part by part in the order of its items."""

    parts: Sequence[tuple[slice, asyncio.Task[Floats]]]
    """Which items, and their (n, d) float32 unit vectors. A task raises Unavailable when no encoder answers, and
    BadInput for given vectors of another encoder, or a text that the encoder cannot read.
    """

    async def end(self) -> None:
        """Encode no more. To be awaited when the write ends, however it does."""
        tasks = [vectors for _, vectors in self.parts]
        for vectors in tasks:
            vectors.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def encoding_of(
    items: Sequence[Item], given: Mapping[int, Wide], serve: Serve, encode: Encode, settings: Serving
) -> Encoding:
    """Begin to make the vectors. `given`: (d,) by place in `items`; then all are one part, refused together."""
    if given:
        whole = _with_given(items, given, serve, encode, settings)
        return Encoding([(slice(0, len(items)), asyncio.create_task(whole))])
    room = asyncio.Semaphore(_AHEAD)

    async def in_turn(part: slice) -> Floats:
        async with room:
            return await encode(serve.version, [item.passage() for item in items[part]])

    async def encoded(part: slice) -> Floats:  # a task that ends before it begins must not hold a coroutine already
        return await within(settings.write_budget_s, in_turn(part))

    parts = [slice(start, start + _PART) for start in range(0, len(items), _PART)]
    return Encoding([(part, asyncio.create_task(encoded(part))) for part in parts])


async def _with_given(
    items: Sequence[Item], given: Mapping[int, Wide], serve: Serve, encode: Encode, settings: Serving
) -> Floats:
    texts = [item.passage() for item in items]
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
