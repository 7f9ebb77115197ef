"""Encoding of a catalogue in pieces. An interrupted build continues after its finished pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from recsys.config.platform import Platform
from recsys.datatypes import Floats, Item
from recsys.encoders.base import Encoder, fingerprint
from recsys.encoders.loading import load_encoder, prepare_encoder
from recsys.files import whole

Progress = Callable[[str, int, int], None]
"""Called with a phase, what is done, and the total."""


TOGETHER = 256
"""Texts of a piece: some seconds of work, which a killed build loses."""


class WhenNeeded:
    """The platform's encoder. It is exported at once if its backend needs that, and loaded for the first text: a
    compaction often has none to encode.
    """

    def __init__(self, platform: Platform, threads: int, progress: Progress) -> None:
        spec, models = platform.encoder, platform.home() / "models"
        progress("export", 0, 1)
        prepare_encoder(spec, models, threads=threads)
        progress("export", 1, 1)
        self.fingerprint = fingerprint(spec)
        self.dimension = spec.dimension
        self._load: Callable[[], Encoder] = partial(load_encoder, spec, models, threads=threads)
        self._loaded: Encoder | None = None

    def encode(self, texts: Sequence[str]) -> Floats:
        self._loaded = self._loaded or self._load()
        return self._loaded.encode(texts)


def encode(encoder: Encoder, texts: Sequence[str], folder: Path, progress: Progress) -> Iterator[tuple[slice, Floats]]:
    """Yield (n, d) float32 of some texts, and their places. Each piece is stored in `folder` by a hash of its texts and
    the encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(texts), TOGETHER):
        progress("encode", start, len(texts))
        part = texts[start : start + TOGETHER]
        yield slice(start, start + len(part)), _piece(encoder, part, folder)
    if len(texts):  # an empty phase would show a bar that never ends
        progress("encode", len(texts), len(texts))


def encode_all(encoder: Encoder, items: Sequence[Item], progress: Progress = lambda *_: None) -> Floats:
    """Return (len(items), d) float32. Nothing is stored."""
    vectors = np.zeros((len(items), encoder.dimension), np.float32)
    for start in range(0, len(items), TOGETHER):
        progress("encode", start, len(items))
        part = items[start : start + TOGETHER]
        vectors[start : start + len(part)] = encoder.encode([item.passage() for item in part])
    progress("encode", len(items), len(items))
    return vectors


def _piece(encoder: Encoder, texts: Sequence[str], folder: Path) -> Floats:
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in texts:
        digest.update(f"{len(text)}:".encode() + text.encode())
    path = folder / f"{digest.hexdigest()[:32]}.npy"
    if path.exists():
        kept: Floats = np.load(path, allow_pickle=False)
        return kept
    vectors = encoder.encode(texts)
    with whole(path) as part:
        np.save(part, vectors, allow_pickle=False)
    return vectors
