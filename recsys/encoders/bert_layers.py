"""The layers of a BERT with weights of one byte, by compiled code: two thirds of what onnxruntime needs for
many texts, and a third for a query (docs/benchmarks.md).

`bert.c` is compiled when the project is installed. Where it was not, where the processor has no AVX-512 VNNI, and for
models that are no BERT, onnxruntime runs the graph that is exported as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer

from recsys.compiled import compiled
from recsys.datatypes import Floats

BATCH_TOKENS = 256
"""Tokens of one run: what a core's cache holds beside some weights."""

Sizes = tuple[int, int, int, int, int, int]


class Bert(Protocol):
    """`bert.c`. `encode` fills the (n, hidden) unit vectors `out` of the texts whose tokens end at `ends` in `ids`.

    ValueError for arrays that do not fit each other, IndexError for a token that the model does not have.
    """

    def supported(self) -> bool: ...
    def encode(
        self,
        file: npt.NDArray[np.uint8],
        sizes: Sizes,
        epsilon: float,
        ids: npt.NDArray[np.int32],
        ends: npt.NDArray[np.int64],
        out: Floats,
        /,
    ) -> None: ...


def supported() -> Bert | None:
    """The code, where it was compiled and runs on this processor."""
    bert: Bert | None = compiled("recsys.encoders.bert")
    return bert if bert is not None and bert.supported() else None


BERT = supported()


class Shape(BaseModel):
    """Of a model, as `bert.c` reads its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: int
    positions: int
    hidden: int
    inner: int
    heads: int
    layers: int
    epsilon: float
    """Of its normalisations."""

    @property
    def sizes(self) -> Sizes:
        return self.words, self.positions, self.hidden, self.inner, self.heads, self.layers


class BertLayers:
    """Tokenizer and layers together: texts in, unit vectors out. The vector of a text does not depend on others."""

    def __init__(self, bert: Bert, file: Path, shape: Shape, tokenizer: Tokenizer, *, threads: int) -> None:
        self._bert, self._shape, self._tokenizer = bert, shape, tokenizer
        self._file = np.memmap(file, np.uint8, "r")
        self._threads = threads

    def vectors(self, texts: Sequence[str]) -> Floats:
        """(n, dimension) float32."""
        tokens: list[list[int]] = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        vectors = np.empty((len(tokens), self._shape.hidden), np.float32)
        parts = list(_parts([len(row) for row in tokens]))

        def run(part: slice) -> None:
            some = tokens[part]
            ends = np.cumsum([len(row) for row in some], dtype=np.int64)
            ids = np.fromiter(chain.from_iterable(some), np.int32, ends[-1])
            self._bert.encode(self._file, self._shape.sizes, self._shape.epsilon, ids, ends, vectors[part])

        if self._threads == 1 or len(parts) == 1:
            for part in parts:
                run(part)
        else:
            with ThreadPoolExecutor(self._threads) as pool:  # the compiled code leaves the interpreter to others
                list(pool.map(run, parts))
        return vectors


def _parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Yield the texts of each run: one at least, and BATCH_TOKENS tokens at the most beyond that."""
    start, filled = 0, 0
    for place, length in enumerate(lengths):
        if filled and filled + length > BATCH_TOKENS:
            yield slice(start, place)
            start, filled = place, 0
        filled += length
    if start < len(lengths):
        yield slice(start, len(lengths))
