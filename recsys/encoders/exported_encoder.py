"""An encoder of an exported model: no torch in the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from recsys.config import environment
from recsys.datatypes import Floats
from recsys.encoders.bert_layers import BERT, Bert, BertLayers
from recsys.encoders.exported import BERT_FILE, FLOORS, PROBES, TOKENIZER, Description, read
from recsys.errors import VersionError


class _Runner(Protocol):
    def vectors(self, texts: Sequence[str]) -> Floats: ...


class ExportedEncoder:
    """Raises VersionError when the export is missing, was changed, or makes other vectors here than torch made."""

    def __init__(self, models: Path, fingerprint: str, *, threads: int = 1, bert: Bert | None = BERT) -> None:
        """`bert`: what runs the layers of a BERT where the export has them; None: onnxruntime does."""
        folder, description = read(models, fingerprint)
        self._runner = _runner(folder, description, threads, bert)
        self.fingerprint = fingerprint
        self.dimension = description.dimension
        self.cosine = check(self._runner, description, np.load(folder / PROBES, allow_pickle=False))
        """Mean cosine to torch over the probe texts, measured when it was loaded."""

    def encode(self, texts: Sequence[str]) -> Floats:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        return self._runner.vectors(texts)


def _runner(folder: Path, description: Description, threads: int, bert: Bert | None) -> _Runner:
    cutting = tokenizer(folder / TOKENIZER, description.max_tokens)
    if bert is not None and description.bert is not None:
        return BertLayers(bert, folder / BERT_FILE, description.bert, cutting, threads=threads)
    environment.report_nothing()
    # It starts a thread when it is imported, and takes 40 MB.
    from recsys.encoders.onnx_encoder import Graph  # noqa: PLC0415

    return Graph(folder, cutting, threads=threads)


def tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """Cuts at `max_tokens` and pads nothing, whatever the file says of both."""
    cutting: Tokenizer = Tokenizer.from_file(str(path))
    cutting.no_padding()
    cutting.enable_truncation(max_tokens)
    return cutting


def check(runner: _Runner, description: Description, expected: Floats) -> float:
    """Mean cosine of the probe texts to torch's vectors. Raises VersionError when it is under the backend's floor."""
    cosine = float((runner.vectors(description.probes) * expected).sum(1).mean())
    floor = FLOORS[description.backend]
    if not cosine >= floor:  # a NaN fails as well
        raise VersionError(
            f"the encoder {description.fingerprint} ({description.backend}) has a mean cosine of {cosine:.5f} to torch "
            f"on this machine, under {floor}; set encoder.backend to onnx or torch, and `recsys build`"
        )
    return cosine
