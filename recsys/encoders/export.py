"""The export of a sentence-transformers model to ONNX, once, when a version is built."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from sentence_transformers import SentenceTransformer

from recsys.config.encoder import Backend, EncoderSpec
from recsys.encoders.bert_export import Watch, parts_of, shape_of
from recsys.encoders.bert_layers import Shape
from recsys.encoders.exported import BERT_FILE, MODEL, PROBES, TOKENIZER, Description, describe, draft
from recsys.encoders.exported_encoder import check, tokenizer
from recsys.encoders.onnx_encoder import Graph
from recsys.encoders.probe_texts import CALIBRATION_TEXTS, PROBE_TEXTS
from recsys.encoders.quantisation import quantise
from recsys.encoders.quiet_libraries import quietly
from recsys.encoders.torch_encoder import read_model, vectors_of
from recsys.errors import VersionError
from recsys.files import checksums

_OPSET = 20
"""The first opset with Gelu as one operator. onnxruntime does not fuse the parts that the exporter writes before."""
_LAYOUT = ["Transformer", "Pooling", "Normalize"]
_OTHERWISE = "set encoder.backend: torch"


def export(spec: EncoderSpec, source: Path, models: Path, fingerprint: str, threads: int = 1) -> None:
    """Write `<models>/<fingerprint>` atomically. Raises VersionError when the model cannot be exported correctly."""
    # Plain attention: the exporter writes a slower graph for scaled_dot_product_attention.
    model = read_model(spec, source, attention="eager")
    pooling = _pooling(model, source)
    with draft(models, fingerprint) as folder:
        (folder / TOKENIZER).write_text(model.tokenizer.backend_tokenizer.to_str())
        np.save(folder / PROBES, vectors_of(model, PROBE_TEXTS))
        _write_graph(model, spec.backend, folder)
        bert = _write_layers(model, folder) if spec.backend == "onnx-int8" else None
        description = Description(
            fingerprint=fingerprint,
            backend=spec.backend,
            dimension=spec.dimension,
            max_tokens=_max_tokens(model),
            pooling=pooling,
            normalised=True,
            probes=list(PROBE_TEXTS),
            bert=bert,
            sha256=checksums(folder),
        )
        check(
            Graph(folder, tokenizer(folder / TOKENIZER, description.max_tokens), threads=threads),
            description,
            np.load(folder / PROBES, allow_pickle=False),
        )
        describe(folder, description)


class _Pipeline(torch.nn.Module):
    """Transformer, mean over the tokens without padding, scaled to length 1."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def _pooling(model: SentenceTransformer, source: Path) -> str:
    """Return `mean`. Raises VersionError for a model that differs from `_Pipeline`."""
    modules: list[Any] = list(model)
    layout = [type(module).__name__ for module in modules]
    # Without a Normalize module the vectors are normalised as well: see `vectors_of`.
    if layout not in (_LAYOUT, _LAYOUT[:2]):
        raise VersionError(f"{source} is made of {', '.join(layout)}, not {', '.join(_LAYOUT)}: {_OTHERWISE}")
    mode = modules[1].get_config_dict().get("pooling_mode")
    if mode not in ("mean", ["mean"], ("mean",)):
        raise VersionError(f"{source} pools by {mode}; only mean is exported: {_OTHERWISE}")
    return "mean"


def _max_tokens(model: SentenceTransformer) -> int:
    longest = model.max_seq_length
    assert longest is not None  # read_model sets it
    return longest


def _write_graph(model: SentenceTransformer, backend: Backend, folder: Path) -> None:
    transformer = model[0].auto_model
    assert isinstance(transformer, torch.nn.Module)
    # Without gradients the graph is the same, and tracing it takes a sixth less.
    graph = traced_graph(_Pipeline(transformer).eval().requires_grad_(False), _max_tokens(model))
    if backend == "onnx":
        onnx.save(graph, folder / MODEL)
        return
    cut = tokenizer(folder / TOKENIZER, _max_tokens(model))
    with quietly():
        quantise(graph, [cut.encode(text).ids for text in CALIBRATION_TEXTS], folder / MODEL)


def _write_layers(model: SentenceTransformer, folder: Path) -> Shape | None:
    """For `bert.c`. None: the model is none for it."""
    transformer: Any = model[0].auto_model
    shape = shape_of(transformer)
    if shape is None:
        return None
    watch = Watch(transformer)
    vectors_of(model, CALIBRATION_TEXTS)
    with (folder / BERT_FILE).open("wb") as file:
        for part in parts_of(transformer, shape, watch.end()):
            file.write(np.ascontiguousarray(part).data)
    return shape


def traced_graph(pipeline: torch.nn.Module, max_tokens: int) -> onnx.ModelProto:
    """The graph of a module from (input_ids, attention_mask), (n, t) int64 each, to (n, d) float32 vectors."""
    ids = torch.randint(1, 100, (3, 7))  # any numbers: the graph holds for every batch and length
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    shape = {0: torch.export.Dim("batch", min=1, max=1 << 20), 1: torch.export.Dim("tokens", min=2, max=max_tokens)}
    with tempfile.TemporaryDirectory() as scratch, quietly():
        path = Path(scratch) / MODEL
        torch.onnx.export(
            pipeline,
            (ids, mask),
            path,
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_shapes=(shape, shape),
            external_data=False,
        )
        return onnx.load(path)
