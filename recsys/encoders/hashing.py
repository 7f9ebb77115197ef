"""The encoder of tests: no weights, and texts that share words are alike."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from recsys.config.encoder import EncoderSpec
from recsys.datatypes import Floats
from recsys.encoders.base import fingerprint


class HashingEncoder:
    """Words hashed to signed dimensions (Weinberger et al. 2009): texts that share words are alike. For tests."""

    def __init__(self, spec: EncoderSpec) -> None:
        self.dimension = spec.dimension
        self.fingerprint = fingerprint(spec)

    def encode(self, texts: Sequence[str]) -> Floats:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for i, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                vectors[i] += _direction(word, self.dimension)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@lru_cache(1 << 12)
def _direction(word: str, dimension: int) -> npt.NDArray[np.float64]:
    """(dimension,) of a word, the same in every process. Tests encode the same few words again and again."""
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(dimension)
