"""The encoders of real weights that tests export, and what those encode."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from recsys.config.encoder import Backend, EncoderSpec
from recsys.encoders.base import model_folder

TEXTS = [
    "Toy Story (1995). Animation, Children's, Comedy.", "", "spy thriller", "naïve café — 日本語 🎬", "Heat (1995).",
    "A film about a family that leaves the city for the coast, told over four summers. " * 3, "x", "GoldenEye (1995).",
    "a long road " * 400,
]  # fmt: skip
EXPORTED = ("onnx", "onnx-int8")
TOKENS = 16
"""Not the 128 of the tokenizer's own file, and not the 256 of the model's."""
PACKAGE, LAYERS = "minilm_of_two_layers", 2
"""What is made here of the installed weights, which have six layers: a third of the work to trace, quantise and check.
All six are exported, checked and served by the platform of the session.
"""


def spec(backend: Backend, **others: Any) -> EncoderSpec:
    return EncoderSpec(**{"backend": backend, "model": f"package:{PACKAGE}", "max_tokens": TOKENS, **others})


def write_package(site: Path) -> None:
    """Put the first layers of the installed weights into a package in a folder of packages."""
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415 - this module is imported by every process

    folder = site / PACKAGE / "model"
    shutil.copytree(model_folder(EncoderSpec()), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder.parent / "__init__.py").touch()
    config = json.loads((folder / "config.json").read_text())
    gone = {f"encoder.layer.{n}." for n in range(LAYERS, config["num_hidden_layers"])}
    weights = load_file(model_folder(EncoderSpec()) / "model.safetensors")
    kept = {name: array for name, array in weights.items() if not any(map(name.startswith, gone))}
    assert 0 < len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": LAYERS}))
