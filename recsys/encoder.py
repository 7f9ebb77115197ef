"""Text to unit vectors."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from recsys.config import EncoderSpec
from recsys.datatypes import Floats
from recsys.errors import VersionError


class Encoder(Protocol):
    fingerprint: str
    """Same fingerprint, same vectors: a hash of the settings and the weights."""
    dimension: int

    def encode(self, texts: Sequence[str]) -> Floats:
        """(len(texts), dimension) float32, each of length 1."""


class SentenceTransformerEncoder:
    """A sentence-transformers model on the CPU, read from a folder: nothing is downloaded."""

    def __init__(self, spec: EncoderSpec, batch: int = 32) -> None:
        # Importing torch takes seconds: only a process that encodes pays for it.
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        folder = model_folder(spec)
        self._model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        self._model.max_seq_length = min(spec.max_tokens, self._model.max_seq_length or spec.max_tokens)
        self._batch = batch
        self.fingerprint = fingerprint(spec)
        self.dimension = spec.dimension
        found = self._model.get_embedding_dimension()
        if found != spec.dimension:
            raise VersionError(f"encoder.dimension is {spec.dimension}, but {spec.model} makes vectors of {found}")

    def encode(self, texts: Sequence[str]) -> Floats:
        vectors = self._model.encode(
            list(texts), batch_size=self._batch, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, np.float32)


class HashingEncoder:
    """Words hashed to signed dimensions (Weinberger et al. 2009): texts that share words are alike. For tests."""

    def __init__(self, spec: EncoderSpec) -> None:
        self.dimension = spec.dimension
        self.fingerprint = fingerprint(spec)

    def encode(self, texts: Sequence[str]) -> Floats:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for i, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
                vectors[i] += np.random.default_rng(seed).standard_normal(self.dimension)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def load_encoder(spec: EncoderSpec) -> Encoder:
    return HashingEncoder(spec) if spec.kind == "hashing" else SentenceTransformerEncoder(spec)


def model_folder(spec: EncoderSpec) -> Path:
    """Where the weights are. Raises VersionError when they are not there."""
    if not spec.model.startswith("package:"):
        folder = Path(spec.model)
    else:
        name = spec.model.removeprefix("package:")
        found = importlib.util.find_spec(name)
        if found is None or not found.submodule_search_locations:
            raise VersionError(f"encoder.model: the package {name} is not installed; pip install 'recsys[local]'")
        folder = Path(found.submodule_search_locations[0]) / "model"
    if not (folder / "config.json").exists():
        raise VersionError(f"encoder.model: {folder} holds no sentence-transformers model (no config.json)")
    return folder


def fingerprint(spec: EncoderSpec) -> str:
    """16 hex digits over the settings that change vectors and, for real weights, every file of the model."""
    digest = hashlib.sha256(f"{spec.kind}:{spec.dimension}:{spec.max_tokens}".encode())
    if spec.kind != "hashing":
        folder = model_folder(spec)
        for path in sorted(
            p for p in folder.rglob("*") if p.suffix in {".json", ".safetensors", ".bin", ".txt", ".onnx"}
        ):
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
