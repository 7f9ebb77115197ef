"""The layers of a BERT by compiled code: as torch and onnxruntime have them, and what is refused or left to those."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.encoders.base import fingerprint
from recsys.encoders.bert_layers import BERT, Shape
from recsys.encoders.exported import FLOORS, read
from recsys.encoders.exported_encoder import ExportedEncoder
from recsys.encoders.loading import load_encoder
from recsys.errors import VersionError
from tests.support.encoders import TEXTS, spec

compiled = pytest.mark.skipif(
    BERT is None, reason="recsys/encoders/bert.c was not compiled, or is not for this processor"
)


@compiled
def test_compiled_layers_give_what_the_graph_gives(models, expected):
    """Each text the same vector to the bit, whatever comes with it and on how many threads; as near to torch as the
    graph of onnxruntime, which takes their place where there is no compiled code.
    """
    known = fingerprint(spec("onnx-int8"))
    layers, graph = ExportedEncoder(models, known), ExportedEncoder(models, known, bert=None)
    vectors = layers.encode(TEXTS)
    others = [f"{text} {number}" for number in range(40) for text in TEXTS]
    np.testing.assert_array_equal(vectors, np.concatenate([layers.encode([text]) for text in TEXTS]))
    np.testing.assert_array_equal(vectors, layers.encode(TEXTS + others)[: len(TEXTS)])
    np.testing.assert_array_equal(
        vectors, ExportedEncoder(models, known, threads=3).encode(TEXTS + others)[: len(TEXTS)]
    )
    by_graph = graph.encode(TEXTS)
    assert not np.array_equal(vectors, by_graph)
    assert (vectors * by_graph).sum(1).mean() >= FLOORS["onnx-int8"]
    assert (vectors * expected).sum(1).mean() >= (by_graph * expected).sum(1).mean() - 1e-3


def test_an_export_of_an_earlier_release_is_run_by_onnxruntime(copied, expected):
    known = fingerprint(spec("onnx-int8"))
    (copied / known / "bert.bin").unlink()
    description = copied / known / "description.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"bert": None}))
    assert (load_encoder(spec("onnx-int8"), copied).encode(TEXTS) * expected).sum(1).mean() >= FLOORS["onnx-int8"]


@compiled
def test_arrays_that_do_not_fit_each_other_are_refused(models):
    folder, description = read(models, fingerprint(spec("onnx-int8")))
    assert description.bert is not None
    assert BERT is not None
    shape, file = description.bert, np.fromfile(folder / "bert.bin", np.uint8)
    ids, ends, out = np.array([101, 7592, 102], np.int32), np.array([3]), np.empty((1, shape.hidden), np.float32)
    BERT.encode(file, shape.sizes, shape.epsilon, ids, ends, out)
    np.testing.assert_allclose(np.linalg.norm(out), 1, atol=1e-5)
    for wrong in (
        (file[:-4], shape.sizes, shape.epsilon, ids, ends, out),
        (file, (*shape.sizes[:-1], 5), shape.epsilon, ids, ends, out),
        (file, (*shape.sizes[:4], 7, 6), shape.epsilon, ids, ends, out),
        (file, (*shape.sizes[:-1], 1 << 56), shape.epsilon, ids, ends, out),  # bytes of so many layers: 1 << 64
        (file[2 * shape.words * shape.hidden :], (1 << 57, *shape.sizes[1:]), shape.epsilon, ids, ends, out),
        (file, shape.sizes, shape.epsilon, ids, np.array([2]), out),
        (file, shape.sizes, shape.epsilon, ids, np.array([3, 3]), out),
        (file, shape.sizes, shape.epsilon, ids, ends[:0], out),
        (file, shape.sizes, shape.epsilon, ids, ends, out[:, :-1].copy()),
        (file, shape.sizes, shape.epsilon, np.full(513, 101, np.int32), np.array([513]), out),
    ):
        with pytest.raises(ValueError, match=r"texts|model|file"):
            BERT.encode(*wrong)
    for token in (-1, shape.words):
        with pytest.raises(IndexError, match="token"):
            BERT.encode(file, shape.sizes, shape.epsilon, np.array([token], np.int32), np.array([1]), out)


def test_layers_that_the_compiled_code_does_not_have_are_left_to_onnxruntime():
    from recsys.encoders.bert_export import shape_of  # noqa: PLC0415 - onnx takes seconds to import

    usual = {
        "vocab_size": 100, "max_position_embeddings": 64, "hidden_size": 128, "intermediate_size": 512,
        "num_attention_heads": 4, "num_hidden_layers": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip

    def shape(name: str = "BertModel", **others: Any) -> Shape | None:
        return shape_of(type(name, (), {"config": SimpleNamespace(**usual | others)})())

    assert shape() == Shape(words=100, positions=64, hidden=128, inner=512, heads=4, layers=2, epsilon=1e-12)
    assert shape("MPNetModel") is None
    for other in (
        {"hidden_act": "relu"}, {"hidden_size": 100}, {"intermediate_size": 500}, {"num_attention_heads": 16},
        {"position_embedding_type": "relative_key"},
    ):  # fmt: skip
        assert shape(**other) is None


@compiled
def test_compiled_layers_that_differ_from_torch_are_refused(models):
    class Turned:
        def supported(self) -> bool:
            return True

        def encode(self, *given: Any) -> None:
            assert BERT is not None
            BERT.encode(*given)
            given[-1][:] = np.roll(given[-1], 1, axis=1)

    with pytest.raises(VersionError, match=r"mean cosine of -?0\.\d+"):
        ExportedEncoder(models, fingerprint(spec("onnx-int8")), bert=Turned())
