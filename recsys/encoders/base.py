"""The encoder protocol, the folder of its weights, and the fingerprint of both."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from recsys.config.encoder import EncoderSpec
from recsys.datatypes import Floats
from recsys.errors import VersionError

REVISIONS = {"onnx": 1, "onnx-int8": 3}
"""Revision of each backend's export. Raise it with every change in `recsys/encoders` that changes vectors."""


class Encoder(Protocol):
    """Encodes texts to unit vectors. Several threads may call it at a time."""

    fingerprint: str
    """Hash of the settings and the weights. Equal fingerprints give equal vectors."""
    dimension: int

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return (len(texts), dimension) float32 unit vectors."""


def model_folder(spec: EncoderSpec) -> Path:
    """Return the folder of the weights. Raises VersionError when they are missing."""
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
    """Return 16 hex digits: a hash of the settings that change vectors and, with weights, of every file of the model.

    For an exported model it covers the source and the export's revision and not the exported bytes, so that it is the
    same on every machine.
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
            digest.update(f"{spec.backend}:{REVISIONS[spec.backend]}".encode())
    return digest.hexdigest()[:16]
