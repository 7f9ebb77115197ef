"""Encoders of real weights: every backend against torch, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.encoders.base import fingerprint, model_folder
from recsys.encoders.batches import by_length, padded
from recsys.encoders.exported import FLOORS
from recsys.encoders.loading import load_encoder, prepare_encoder
from recsys.encoders.probe_texts import CALIBRATION_TEXTS, PROBE_TEXTS
from recsys.errors import VersionError
from tests.support.encoders import EXPORTED, TEXTS, spec


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


def test_a_pooling_that_is_not_exported_is_refused(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(model_folder(spec("onnx")), source)
    pooling = source / "1_Pooling" / "config.json"
    known = json.loads(pooling.read_text())
    pooling.write_text(json.dumps(known | {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}))
    with pytest.raises(VersionError, match=r"pools by .*cls.*backend: torch"):
        prepare_encoder(EncoderSpec(model=str(source), backend="onnx"), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_fingerprints_differ_between_backends_and_lengths_only():
    specs = [spec(b, max_tokens=n) for b in ("torch", *EXPORTED) for n in (128, 256)]
    assert len({fingerprint(spec) for spec in specs}) == len(specs)
    assert fingerprint(specs[0]) == fingerprint(specs[0])


def test_other_weights_than_the_versions_are_refused(models):
    with pytest.raises(VersionError, match="built with 0123"):
        load_encoder(spec("torch"), models, expected="0123")


def test_reading_and_exporting_a_model_says_nothing(models, said):
    """What libraries say is for no reader of `recsys build`. They log once: only tests of this folder read models."""
    assert said == [""]


def test_nothing_is_reported_to_the_maker_of_onnxruntime(models, tmp_path):
    """It would keep an id in the home folder, and say on stderr where it cannot."""
    code = (
        "import sys; from pathlib import Path; from recsys.config.encoder import EncoderSpec;"
        "from recsys.encoders.loading import load_encoder;"
        f"load_encoder(EncoderSpec(backend='onnx'), Path(sys.argv[1]), expected='{fingerprint(spec('onnx'))}');"
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
