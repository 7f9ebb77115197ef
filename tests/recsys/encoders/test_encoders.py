"""Encoders of real weights: every backend against torch, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.config.encoder import Backend, EncoderSpec
from recsys.encoders.base import fingerprint, model_folder
from recsys.encoders.batches import by_length, padded
from recsys.encoders.bert_layers import BERT, Shape
from recsys.encoders.exported import FLOORS, read
from recsys.encoders.exported_encoder import ExportedEncoder
from recsys.encoders.loading import load_encoder, prepare_encoder
from recsys.encoders.probe_texts import CALIBRATION_TEXTS, PROBE_TEXTS
from recsys.errors import VersionError
from tests.support.heard import heard

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


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What was said while the libraries were imported, and both models read and exported: see `models`."""
    return []


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, said: list[str]) -> Path:
    """Both exports, made once for all tests, in place of what a damaged disk left. Both write the same graph, which
    takes ten seconds to trace: it is traced once.
    """
    folder, traced = tmp_path_factory.mktemp("models"), list[bytes]()
    with heard(said), pytest.MonkeyPatch.context() as patch:
        from recsys.encoders import export  # noqa: PLC0415 - torch and onnx take seconds to import

        trace = export.traced_graph

        def once(pipeline: Any, max_tokens: int) -> Any:
            if not traced:
                traced.append(trace(pipeline, max_tokens).SerializeToString())
            return export.onnx.load_from_string(traced[0])

        patch.setattr(export, "traced_graph", once)
        for backend in EXPORTED:
            left = folder / fingerprint(spec(backend))
            left.mkdir()
            (left / "tokenizer.json").write_text("{")
            prepare_encoder(spec(backend), folder, threads=2)
    return folder


@pytest.fixture(scope="module")
def expected(models: Path) -> np.ndarray:
    return load_encoder(spec("torch"), models).encode(TEXTS)


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    """The int8 export, free to be damaged: the folder that holds it."""
    known = fingerprint(spec("onnx-int8"))
    shutil.copytree(models / known, tmp_path / known)
    return tmp_path


compiled = pytest.mark.skipif(
    BERT is None, reason="recsys/encoders/bert.c was not compiled, or is not for this processor"
)


@pytest.mark.parametrize("backend", EXPORTED)
def test_an_export_makes_torchs_vectors_in_the_order_asked_for(models, expected, backend):
    """Short, long, empty and foreign texts, texts beyond max_tokens, batched or alone: within the promised cosine."""
    made = load_encoder(spec(backend), models)
    vectors = made.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * expected).sum(1).mean() >= FLOORS[backend]
    assert ((vectors @ expected.T).argmax(1) == np.arange(len(TEXTS))).all()
    alone = np.concatenate([made.encode([text]) for text in TEXTS])
    assert (alone * expected).sum(1).mean() >= FLOORS[backend]


@pytest.mark.parametrize("backend", ["torch", *EXPORTED])
def test_no_texts_are_no_vectors(models, backend):
    assert load_encoder(spec(backend), models).encode([]).shape == (0, 384)


@pytest.mark.parametrize("backend", EXPORTED)
def test_long_texts_are_cut_where_torch_cuts_them(models, backend):
    """At max_tokens, not where the tokenizer's own file says."""
    text = " ".join(f"word{n}" for n in range(300))
    cut, torch = load_encoder(spec(backend), models), load_encoder(spec("torch"), models)
    assert float(cut.encode([text])[0] @ torch.encode([text])[0]) >= 0.99
    np.testing.assert_array_equal(cut.encode([text]), cut.encode([text + " and more of it"]))


def test_a_second_build_uses_the_export_again(models):
    made = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    for backend in EXPORTED:
        prepare_encoder(spec(backend), models)
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == made


def test_an_export_is_found_without_the_weights_it_was_made_of(models):
    """A replica needs the version's fingerprint and the folder: no torch, no package of weights."""
    known = fingerprint(spec("onnx"))
    assert load_encoder(spec("onnx", model="/nowhere"), models, expected=known).fingerprint == known


def test_a_missing_export_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(VersionError, match="recsys build"):
        load_encoder(spec("onnx-int8"), tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "bert.bin", "tokenizer.json", "probes.npy", "description.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_export_is_refused(copied, name, damage):
    path = copied / fingerprint(spec("onnx-int8")) / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(VersionError, match="recsys build"):
        load_encoder(spec("onnx-int8"), copied)


def test_the_next_build_mends_a_damaged_export(models):
    """What was there is gone, and nothing else is beside the two models."""
    assert {path.name for path in models.iterdir()} == {fingerprint(spec(backend)) for backend in EXPORTED}
    assert load_encoder(spec("onnx"), models).encode(["mended"]).shape == (1, 384)


def test_vectors_that_differ_from_torchs_are_refused(models, monkeypatch):
    """A machine whose arithmetic differs must not mix its vectors with those of a version."""
    from recsys.encoders import onnx_encoder  # noqa: PLC0415 - onnxruntime starts a thread when it is imported

    honest = onnx_encoder.Graph.vectors
    monkeypatch.setattr(onnx_encoder.Graph, "vectors", lambda self, texts: np.roll(honest(self, texts), 1, axis=1))
    with pytest.raises(VersionError, match=r"mean cosine of -?0\.\d+"):
        load_encoder(spec("onnx"), models)


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


def test_a_pooling_that_is_not_exported_is_refused(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(model_folder(EncoderSpec()), source)
    pooling = source / "1_Pooling" / "config.json"
    known = json.loads(pooling.read_text())
    pooling.write_text(json.dumps(known | {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}))
    with pytest.raises(VersionError, match=r"pools by .*cls.*backend: torch"):
        prepare_encoder(EncoderSpec(model=str(source), backend="onnx"), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_fingerprints_differ_between_backends_and_lengths_only():
    specs = [EncoderSpec(backend=b, max_tokens=n) for b in ("torch", *EXPORTED) for n in (128, 256)]
    assert len({fingerprint(spec) for spec in specs}) == len(specs)
    assert fingerprint(specs[0]) == fingerprint(specs[0])


def test_other_weights_than_the_versions_are_refused(models):
    with pytest.raises(VersionError, match="built with 0123"):
        load_encoder(spec("torch"), models, expected="0123")


def test_reading_and_exporting_a_model_says_nothing(models, said):
    """What libraries say is for no reader of `recsys build`. They log once: this file alone reads models."""
    assert said == [""]


def test_nothing_is_reported_to_the_maker_of_onnxruntime(models, tmp_path):
    """It would keep an id in the home folder, and say on stderr where it cannot."""
    code = (
        "import sys; from pathlib import Path; from recsys.config.encoder import EncoderSpec;"
        "from recsys.encoders.loading import load_encoder;"
        f"load_encoder(EncoderSpec(backend='onnx', max_tokens={TOKENS}), Path(sys.argv[1]));"
        "assert 'onnxruntime' in sys.modules"
    )
    (tmp_path / "file").touch()
    reporting = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in reporting}
    for home in (tmp_path / "home", tmp_path / "file"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(models)],
            env=environment | {"HOME": str(home)}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("", "")
    assert not (tmp_path / "home").exists()


def test_batches_hold_each_text_once_within_their_tokens():
    lengths = [3, 200, 7, 7, 90, 1, 300, 12]
    batches = list(by_length(lengths, 256))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 256 for b in batches)
    assert list(by_length([], 256)) == []


def test_padding_is_masked():
    ids, mask = padded([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_no_probe_calibrates():
    assert not set(PROBE_TEXTS) & set(CALIBRATION_TEXTS)
    assert len({len(text.split()) for text in PROBE_TEXTS}) > 8
