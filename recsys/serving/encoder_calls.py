"""Calls to the encoder within a budget. Texts that are searched for at the same time go to it in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from recsys.config.serving import Serving
from recsys.datatypes import Floats
from recsys.errors import BadInput, RecsysError, Unavailable
from recsys.transport.coalescing import Caller, Coalescer, Flight

Encode = Callable[[str, Sequence[str]], Awaitable[Floats]]
"""(version, texts) -> (n, d) unit vectors by that version's encoder."""

_TEXTS, _FLIGHTS = 16, 4
"""Texts in one call to the encoder, and such calls at a time: together a quarter of a second on one core. What waits
for them here can be given up, what waits there can not."""


async def within(budget_s: float, encoding: Awaitable[Floats]) -> Floats:
    """The (n, d) vectors as float32. Raises Unavailable where they take longer than `budget_s` seconds, or the encoder
    fails.
    """
    try:
        async with asyncio.timeout(budget_s):
            return np.asarray(await encoding, np.float32)
    except RecsysError:
        raise
    except Exception as error:  # whatever a remote call fails with, the caller can only try again
        raise Unavailable("no encoder answers; try again") from error


class QueryTexts:
    """The texts that are searched for."""

    def __init__(self, encode: Encode, settings: Serving, landed: Callable[[Flight], None]) -> None:
        """`landed`: called after each call to the encoder."""
        self._encode = encode
        self._budget_s = settings.budget_s
        self.queue: Coalescer[tuple[str, str], Floats] = Coalescer(
            self._encode_batch,
            max_batch=_TEXTS,
            max_in_flight=_FLIGHTS,
            max_waiting=settings.max_waiting,
            max_wait_s=settings.budget_s / 2,
            budget_s=settings.budget_s,
            landed=landed,
        )

    async def vector(self, version: str, text: str, caller: Caller, left_s: float) -> Floats:
        """(d,) float32, by the version's encoder. Raises BadInput for a text that cannot be encoded, and Unavailable
        when no encoder answers within `left_s` seconds.
        """
        return await within(left_s, self.queue.submit((version, text), caller))

    async def _encode_batch(self, batch: list[tuple[str, str]]) -> list[Floats | Exception]:
        """Vectors of texts, each with the version that it is for: one call for each version, mostly one."""
        outcomes: dict[tuple[str, str], Floats | Exception] = {}
        for version in dict.fromkeys(version for version, _ in batch):
            texts = list(dict.fromkeys(text for of, text in batch if of == version))
            vectors: Sequence[Floats | Exception]
            try:
                vectors = list(await within(self._budget_s, self._encode(version, texts)))
            except BadInput:  # one of them cannot be encoded: the others are
                vectors = await asyncio.gather(*(self._encode_alone(version, text) for text in texts))
            outcomes |= {(version, text): vector for text, vector in zip(texts, vectors, strict=True)}
        return [outcomes[request] for request in batch]

    async def _encode_alone(self, version: str, text: str) -> Floats | Exception:
        try:
            return (await within(self._budget_s, self._encode(version, [text])))[0]
        except RecsysError as error:
            return error
