"""The files of a trained model in a version, `model.npz` and `ranker.txt`, and their entries in its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.files import sha256
from recsys.model.trained import Trained
from recsys.versions.manifest import MODEL, RANKER, Manifest
from recsys.versions.store import VersionStore


def write_model(folder: Path, trained: Trained) -> dict[str, Any]:
    """Write the model and its trees into a version's folder. Return the fields of `Manifest` that describe them."""
    checksum = None
    if trained.ranker is not None:
        (folder / RANKER).write_text(trained.ranker)
        checksum = sha256(folder / RANKER)
    trained.save(folder / MODEL)
    model = "learned-blend" if trained.ranker is None else "learned-trees"
    learned = {"space": trained.space, "weights": dict(trained.weights), "card": trained.card}
    return {"model": model, "ranker_sha256": checksum, "model_sha256": sha256(folder / MODEL), **learned}


def read_model(store: VersionStore, manifest: Manifest) -> Trained | None:
    """Return a version's trained model, or None when it has none.

    Raises VersionError when a file is missing or was changed.
    """
    space, card = manifest.space, manifest.card
    if manifest.model_sha256 is None or space is None or card is None:
        return None
    ranker = None
    if manifest.ranker_sha256 is not None:
        ranker = store.checked(manifest.version, RANKER, manifest.ranker_sha256).read_text()
    path = store.checked(manifest.version, MODEL, manifest.model_sha256)
    return Trained.read(path, space, manifest.weights or {}, ranker, card)
