"""An exported model on disk: complete, checked, and never changed once it is there.

<models>/<fingerprint>/
├── description.json    what it is, with a checksum of every file and the probe texts
├── model.onnx          token ids and mask in, unit vectors out: pooling and normalisation are part of the graph
├── bert.bin            the same for `bert.c`, of an onnx-int8 export of a BERT: see `bert_export.py`
├── tokenizer.json
└── probes.npy          what torch makes of the probe texts, (texts, d) float32
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.config import environment
from recsys.config.encoder import Backend
from recsys.encoders.bert_layers import Shape
from recsys.errors import VersionError
from recsys.files import sha256, sync

MODEL, TOKENIZER, PROBES, BERT_FILE = "model.onnx", "tokenizer.json", "probes.npy", "bert.bin"
_DESCRIPTION = "description.json"

FLOORS: dict[Backend, float] = {"onnx": 0.9999, "onnx-int8": 0.99}
"""Mean cosine to torch over the probe texts, below which a model is not used."""


class Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str
    backend: Backend
    dimension: int
    max_tokens: int
    """Longer texts are cut here, special tokens included."""
    pooling: str
    normalised: bool
    probes: list[str]
    bert: Shape | None = None
    """Of `bert.bin`; None: there is none."""
    sha256: dict[str, str]
    """Of each file beside this one."""


def read(models: Path, fingerprint: str) -> tuple[Path, Description]:
    """The folder of an exported model, every file checked: in `models`, or where it is not there, in $RECSYS_MODELS.

    Raises VersionError when a file is missing or was changed.
    """
    folder, carried = models / fingerprint, environment.models()
    if carried is not None and not folder.exists():
        folder = carried / fingerprint
    try:
        description = Description.model_validate_json((folder / _DESCRIPTION).read_bytes())
    except FileNotFoundError:
        raise VersionError(f"the exported encoder {folder} is not there; `recsys build` makes it") from None
    except (ValidationError, OSError) as error:
        raise VersionError(f"{folder / _DESCRIPTION} cannot be read; `recsys build` makes it anew: {error}") from error
    for name in (MODEL, TOKENIZER, PROBES, *([BERT_FILE] if description.bert else [])):
        path = folder / name
        if not path.is_file() or sha256(path) != description.sha256.get(name):
            raise VersionError(f"{path} is missing or was changed (its checksum differs); `recsys build` makes it anew")
    if description.fingerprint != fingerprint:
        raise VersionError(f"{folder} holds the encoder {description.fingerprint}; `recsys build` makes it anew")
    return folder, description


@contextmanager
def draft(models: Path, fingerprint: str) -> Iterator[Path]:
    """A folder to write a model into, which takes its place when the block ends without an error."""
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=f".{fingerprint}-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        yield folder
        for path in (*folder.iterdir(), folder):
            sync(path)
        target = models / fingerprint
        if target.exists():  # it was corrupt, or another build was faster: this one is whole
            target.rename(Path(scratch) / "old")
        folder.rename(target)
        sync(models)


def describe(folder: Path, description: Description) -> None:
    """The last file of a draft."""
    (folder / _DESCRIPTION).write_text(description.model_dump_json(indent=2))
