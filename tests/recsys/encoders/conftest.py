"""What the tests of encoders share: both exports of two layers of the real weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.encoders.base import fingerprint
from recsys.encoders.loading import load_encoder, prepare_encoder
from tests.support.encoders import EXPORTED, TEXTS, spec, write_package
from tests.support.exports import graph
from tests.support.heard import heard


@pytest.fixture(scope="session")
def said() -> list[str]:
    """What was said while the libraries were imported, and both models read and exported: see `models`."""
    return []


@pytest.fixture(scope="session", autouse=True)
def _weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    write_package(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, said: list[str]) -> Path:
    """Both exports, made once for all tests, in place of what a damaged disk left. Both write the same graph, which
    takes six seconds to trace: it is traced once, and kept for the next sessions.
    """
    folder = tmp_path_factory.mktemp("models")
    with heard(said), pytest.MonkeyPatch.context() as patch:
        from recsys.encoders import export  # noqa: PLC0415 - torch and onnx take seconds to import

        trace = export.traced_graph

        def once(pipeline: Any, max_tokens: int) -> Any:
            made = graph(fingerprint(spec("onnx")), lambda: trace(pipeline, max_tokens).SerializeToString())
            return export.onnx.load_from_string(made)

        patch.setattr(export, "traced_graph", once)
        for backend in EXPORTED:
            left = folder / fingerprint(spec(backend))
            left.mkdir()
            (left / "tokenizer.json").write_text("{")
            prepare_encoder(spec(backend), folder, threads=2)
    return folder


@pytest.fixture(scope="session")
def expected(models: Path) -> np.ndarray:
    return load_encoder(spec("torch"), models).encode(TEXTS)


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    """The int8 export, free to be damaged: the folder that holds it."""
    known = fingerprint(spec("onnx-int8"))
    shutil.copytree(models / known, tmp_path / known)
    return tmp_path
