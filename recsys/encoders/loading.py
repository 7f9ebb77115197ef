"""Export of an encoder when a version is built, and loading where texts are encoded."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from recsys.config import environment
from recsys.config.encoder import EncoderSpec
from recsys.encoders.base import Encoder, fingerprint, model_folder
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import VersionError


def prepare_encoder(spec: EncoderSpec, models: Path, *, threads: int = 1) -> None:
    """Export the model into `models` if its backend needs that and no intact export exists."""
    if spec.kind == "hashing" or spec.backend == "torch":
        return
    from recsys.encoders.exported import read  # noqa: PLC0415

    installed = fingerprint(spec)
    try:
        read(models, installed)
    except VersionError as missing:
        environment.report_nothing()
        _refuse_without_torch(f"{missing}, where torch is installed (pip install 'recsys[torch]'), and here it is not")
        # The exporter imports torch, which takes seconds: import it only for an export.
        from recsys.encoders.export import export  # noqa: PLC0415

        export(spec, model_folder(spec), models, installed, threads)


def load_encoder(spec: EncoderSpec, models: Path, *, expected: str | None = None, threads: int = 1) -> Encoder:
    """Return the encoder, which uses `threads` threads.

    `models`: folder of exported models. `expected`: the fingerprint of a version's encoder, for which an exported model
    needs no weights; None: that of the installed weights. Raises VersionError when the model is missing or was changed,
    or gives other vectors than where it was exported.
    """
    if spec.kind == "hashing":
        return HashingEncoder(spec)
    if spec.backend != "torch":
        from recsys.encoders.exported_encoder import ExportedEncoder  # noqa: PLC0415

        return ExportedEncoder(models, expected or fingerprint(spec), threads=threads)
    installed = fingerprint(spec)
    if expected not in (None, installed):
        raise VersionError(
            f"encoder.model: the version was built with {expected}, and {spec.model} is now {installed}; "
            "install the weights it was built with, or `recsys build` again"
        )
    _refuse_without_torch("encoder.backend: torch is not installed; pip install 'recsys[torch]', or set onnx-int8")
    # Importing torch takes seconds: only a process that encodes with it imports it.
    from recsys.encoders.torch_encoder import TorchEncoder  # noqa: PLC0415

    return TorchEncoder(spec, model_folder(spec), installed, threads)


def _refuse_without_torch(why: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise VersionError(why)
