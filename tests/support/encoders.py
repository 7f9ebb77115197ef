"""The encoders of real weights that tests export, and what those encode."""

from __future__ import annotations

from typing import Any

from recsys.config.encoder import Backend, EncoderSpec

TEXTS = [
    "Toy Story (1995). Animation, Children's, Comedy.", "", "spy thriller", "naïve café — 日本語 🎬", "Heat (1995).",
    "A film about a family that leaves the city for the coast, told over four summers. " * 3, "x", "GoldenEye (1995).",
    "a long road " * 400,
]  # fmt: skip
EXPORTED = ("onnx", "onnx-int8")
TOKENS = 16
"""Not the 128 of the tokenizer's own file, and not the 256 of the model's."""


def spec(backend: Backend, **others: Any) -> EncoderSpec:
    return EncoderSpec(backend=backend, max_tokens=TOKENS, **others)
