"""The reference: sentence-transformers on torch, in float32."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from recsys.config.encoder import EncoderSpec
from recsys.datatypes import Floats
from recsys.encoders.quiet_libraries import quietly
from recsys.errors import VersionError

_BATCH = 32


class TorchEncoder:
    """A sentence-transformers model on the CPU, read from a folder: nothing is downloaded."""

    def __init__(self, spec: EncoderSpec, folder: Path, fingerprint: str, threads: int = 1) -> None:
        torch.set_num_threads(threads)  # of the whole process
        self._model = read_model(spec, folder)
        self._turn = threading.Lock()
        """A tokenizer of transformers is told anew of padding at each call, and refuses two at a time."""
        self.fingerprint = fingerprint
        self.dimension = spec.dimension

    def encode(self, texts: Sequence[str]) -> Floats:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        with self._turn:
            return vectors_of(self._model, texts)


def read_model(spec: EncoderSpec, folder: Path, attention: str | None = None) -> SentenceTransformer:
    """`attention` None: what transformers finds fastest. VersionError when its vectors have another length."""
    chosen = {"attn_implementation": attention} if attention else {}
    with quietly():
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=chosen)
    model.max_seq_length = min(spec.max_tokens, model.max_seq_length or spec.max_tokens)
    dimension = model.get_embedding_dimension()
    if dimension != spec.dimension:
        raise VersionError(f"encoder.dimension is {spec.dimension}, but {spec.model} makes vectors of {dimension}")
    return model


def vectors_of(model: SentenceTransformer, texts: Sequence[str]) -> Floats:
    """(n, dimension) float32 unit vectors, row i that of texts[i]."""
    vectors = model.encode(list(texts), batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, np.float32)
