"""What is made of the real encoder, an export of half a minute's work and the graph of two layers of six seconds': kept
between sessions, beside MovieLens, for as long as nothing that it is made by has changed.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from tests.support.live import REPOSITORY

LIBRARIES = ("torch", "transformers", "sentence-transformers", "onnx", "onnxruntime", "onnxscript", "numpy")


def _place(kind: str) -> Path:
    made_by = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in LIBRARIES).encode())
    for source in sorted((REPOSITORY / "recsys" / "encoders").glob("*.[pch]*")):
        made_by.update(source.name.encode() + source.read_bytes())
    return REPOSITORY / "var" / "test-data" / f"{kind}-{made_by.hexdigest()[:16]}"


def place() -> Path:
    """The folder of the exports. It is there once all of it is."""
    return _place("exports")


def graph(model: str, trace: Callable[[], bytes]) -> bytes:
    """What `trace` gives: that of last time. `model`: the fingerprint of what is traced."""
    if (kept := _place(f"graph-{model}")).exists():
        return kept.read_bytes()
    for older in kept.parent.glob("graph-*"):
        older.unlink(missing_ok=True)
    traced = trace()
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_name(f".{kept.name}.{uuid.uuid4().hex}")
    draft.write_bytes(traced)
    draft.rename(kept)
    return traced


def keep(data_dir: Path) -> None:
    """In place of all that others made."""
    if (kept := place()).exists():
        return
    for older in kept.parent.glob("exports-*"):
        shutil.rmtree(older, ignore_errors=True)
    draft = kept.with_name(f".{kept.name}.{uuid.uuid4().hex}")
    shutil.copytree(data_dir / "models", draft)
    with suppress(OSError):  # another process was there first
        draft.rename(kept)
    shutil.rmtree(draft, ignore_errors=True)


def take(data_dir: Path) -> None:
    """Nothing where none are kept yet: the next build makes them."""
    if (kept := place()).exists():
        shutil.copytree(kept, data_dir / "models")
