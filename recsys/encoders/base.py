"""What an encoder is, where its weights lie, and the fingerprint of both."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from recsys.config import EncoderSpec
from recsys.datatypes import Floats
from recsys.errors import VersionError

REVISION = 1
"""Of the export: raise it with every change in `recsys/encoders` that changes vectors."""


class Encoder(Protocol):
    fingerprint: str
    """Same fingerprint, same vectors: a hash of the settings and the weights."""
    dimension: int

    def encode(self, texts: Sequence[str]) -> Floats:
        """(len(texts), dimension) float32, each of length 1."""


def model_folder(spec: EncoderSpec) -> Path:
    """Where the weights are. Raises VersionError when they are not there."""
    if not spec.model.startswith("package:"):
        folder = Path(spec.model)
    else:
        name = spec.model.removeprefix("package:")
        package = importlib.util.find_spec(name)
        if package is None or not package.submodule_search_locations:
            raise VersionError(f"encoder.model: the package {name} is not installed; pip install 'recsys[local]'")
        folder = Path(package.submodule_search_locations[0]) / "model"
    if not (folder / "config.json").exists():
        raise VersionError(f"encoder.model: {folder} holds no sentence-transformers model (no config.json)")
    return folder


def fingerprint(spec: EncoderSpec) -> str:
    """16 hex digits over the settings that change vectors and, for real weights, every file of the model.

    Of an exported model it covers what it is made of and how, not the bytes that come out: it is the same everywhere.
    """
    digest = hashlib.sha256(f"{spec.kind}:{spec.dimension}:{spec.max_tokens}".encode())
    if spec.kind != "hashing":
        folder = model_folder(spec)
        for path in sorted(
            p for p in folder.rglob("*") if p.suffix in {".json", ".safetensors", ".bin", ".txt", ".onnx"}
        ):
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if spec.backend != "torch":
            digest.update(f"{spec.backend}:{REVISION}".encode())
    return digest.hexdigest()[:16]
