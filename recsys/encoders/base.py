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

REVISION = 1
"""Of the export: raise it with every change in `recsys/encoders` that changes vectors."""


class Encoder(Protocol):
    fingerprint: str
    """Same fingerprint, same vectors: a hash of the settings and the weights."""
    dimension: int

    def encode(self, texts: Sequence[str]) -> Floats:
        """(len(texts), dimension) float32, each of length 1."""


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


def prepare_encoder(spec: EncoderSpec, models: Path, *, threads: int = 1) -> None:
    """Export the model into `models` if its backend needs that and it is not there whole. For `recsys build`."""
    if spec.kind == "hashing" or spec.backend == "torch":
        return
    from recsys.encoders.exported import read  # noqa: PLC0415

    installed = fingerprint(spec)
    try:
        read(models, installed)
    except VersionError:
        # The exporter brings torch, and seconds with it: imported only when there is something to export.
        from recsys.encoders.export import export  # noqa: PLC0415

        export(spec, model_folder(spec), models, installed, threads)


def load_encoder(spec: EncoderSpec, models: Path, *, expected: str | None = None, threads: int = 1) -> Encoder:
    """Ready to encode, on `threads` threads.

    `models`: where exported models lie. `expected`: the fingerprint that a version was built with, under which an
    exported model is found without the weights it was made of; None: that of the weights which are installed.
    Raises VersionError when there is none, it was changed, or it makes other vectors here than where it was made.
    """
    if spec.kind == "hashing":
        return HashingEncoder(spec)
    if spec.backend != "torch":
        from recsys.encoders.onnx_encoder import OnnxEncoder  # noqa: PLC0415

        return OnnxEncoder(models, expected or fingerprint(spec), threads=threads)
    installed = fingerprint(spec)
    if expected not in (None, installed):
        raise VersionError(
            f"encoder.model: the version was built with {expected}, and {spec.model} is now {installed}; "
            "install the weights it was built with, or `recsys build` again"
        )
    # Importing torch takes seconds: only a process that encodes with it pays for it.
    from recsys.encoders.torch_encoder import TorchEncoder  # noqa: PLC0415

    return TorchEncoder(spec, model_folder(spec), installed, threads)


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
