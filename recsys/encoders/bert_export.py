"""The file that `bert.c` reads: a BERT's weights as bytes, smoothed as in `quantisation.py`.

For each product with a matrix: factors of its input, weights with a scale a column, what takes back the 128 that is
added to the bytes of the input, scales, bias. All parts are whole lines of 64 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.encoders.bert_layers import Shape
from recsys.encoders.quantisation import smoothing

_PANEL, _LANES, _TOGETHER = 64, 16, 4
"""Columns of a panel of weights, columns of one register, and rows that one instruction multiplies."""


def shape_of(model: Any) -> Shape | None:
    """`model`: the transformer of a sentence-transformers model. None: not one that `bert.c` can run."""
    config = model.config
    if (
        type(model).__name__ != "BertModel"
        or config.hidden_act != "gelu"
        or getattr(config, "position_embedding_type", "absolute") != "absolute"
        or config.hidden_size % _PANEL
        or config.intermediate_size % config.hidden_size
        or config.hidden_size // config.num_attention_heads % _LANES
    ):
        return None
    return Shape(
        words=config.vocab_size,
        positions=config.max_position_embeddings,
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        heads=config.num_attention_heads,
        layers=config.num_hidden_layers,
        epsilon=config.layer_norm_eps,
    )


class Watch:
    """The largest magnitudes of each channel of each product's input, over the texts that a model sees meanwhile."""

    def __init__(self, model: Any) -> None:
        self.peaks: dict[str, Floats] = {}
        linear = [(name, part) for name, part in model.named_modules() if type(part).__name__ == "Linear"]
        self._hooks = [part.register_forward_pre_hook(self._seen(name)) for name, part in linear]

    def _seen(self, name: str) -> Any:
        def note(_: Any, given: tuple[Any, ...]) -> None:
            values = np.abs(given[0].detach().numpy())
            here = values.reshape(-1, values.shape[-1]).max(0)
            self.peaks[name] = np.maximum(self.peaks.get(name, here), here)

        return note

    def end(self) -> dict[str, Floats]:
        for hook in self._hooks:
            hook.remove()
        return self.peaks


def parts_of(model: Any, shape: Shape, peaks: Mapping[str, Floats]) -> Iterator[npt.NDArray[Any]]:
    """Yield the parts of the file, in their order. `peaks`: by the name of a product, see `Watch`."""
    weights = {name: np.asarray(tensor.detach().numpy(), np.float32) for name, tensor in model.state_dict().items()}
    hidden = shape.hidden

    def norm(name: str) -> Iterator[Floats]:
        yield weights[f"{name}.weight"]
        yield weights[f"{name}.bias"]

    def product(*names: str, scales: tuple[float, ...] = (1.0,)) -> Iterator[npt.NDArray[Any]]:
        """Several with the same input side by side, each times its scale."""
        matrix = np.hstack([weights[f"{name}.weight"].T * scale for name, scale in zip(names, scales, strict=True)])
        bias = np.hstack([weights[f"{name}.bias"] * scale for name, scale in zip(names, scales, strict=True)])
        yield from _product(matrix, bias, peaks[names[0]], hidden)

    yield weights["embeddings.word_embeddings.weight"].astype(np.float16)
    yield weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    yield from norm("embeddings.LayerNorm")
    sharpness = (hidden // shape.heads) ** -0.5
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}"
        attention = [f"{layer}.attention.self.{name}" for name in ("query", "key", "value")]
        yield from product(*attention, scales=(sharpness, 1.0, 1.0))
        yield from product(f"{layer}.attention.output.dense")
        yield from norm(f"{layer}.attention.output.LayerNorm")
        yield from product(f"{layer}.intermediate.dense")
        yield from product(f"{layer}.output.dense")
        yield from norm(f"{layer}.output.LayerNorm")


def _product(matrix: Floats, bias: Floats, peaks: Floats, part: int) -> Iterator[npt.NDArray[Any]]:
    """`matrix`: (k, n). `part`: numbers of an input that share a scale."""
    k, n = matrix.shape
    smooth = smoothing(peaks, np.abs(matrix).max(1))
    matrix = matrix * smooth[:, None]
    scales = np.maximum(np.abs(matrix).max(0), np.finfo(np.float32).tiny) / 127
    codes = np.rint(matrix / scales).astype(np.int8)
    yield np.asarray(1 / smooth, np.float32)
    yield codes.reshape(k // _TOGETHER, _TOGETHER, n // _PANEL, _PANEL // _LANES, _LANES).transpose(2, 0, 3, 4, 1)
    yield -128 * codes.reshape(k // part, part, n).sum(1, dtype=np.int32)
    yield np.asarray(scales, np.float32)
    yield np.asarray(bias, np.float32)
