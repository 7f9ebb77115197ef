"""Checks before a build or a training: its libraries, weights, memory and disk. They save minutes of work in vain."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from recsys.config.platform import Platform
from recsys.encoders.base import model_folder
from recsys.errors import RuntimeFailure, VersionError
from recsys.index.base import engine

_LEARNED = 128
"""Dimensions that training adds to an item vector."""
_ITEM_BYTES = 500
"""Least bytes of an item's text and attributes."""
_DENSE = 10_000
"""Items up to which training uses dense item-item matrices (`training/parameter_search.py`)."""
_SQUARES = 4
"""Dense item-item matrices, float32, that training holds at a time."""


def check_tools(platform: Platform, *, training: bool = False) -> None:
    """Raise VersionError, naming the setting or the package, when the engine's library, the encoder's weights or,
    for training, PyTorch are missing.
    """
    try:
        engine(platform.index).create(platform.index, platform.encoder.dimension)  # imports its library
    except (ImportError, OSError) as error:  # OSError: a shared library of the package is missing
        raise VersionError(
            f"index.engine: {platform.index.engine} cannot be used here ({error}); install recsys anew, or choose flat"
        ) from None
    if platform.encoder.kind != "hashing":
        model_folder(platform.encoder)
    if training and find_spec("torch") is None:
        raise VersionError("training needs PyTorch, which is not installed; install recsys anew")


def check_room(platform: Platform, folder: Path, items: int, *, training: bool = False, mapped: bool = False) -> None:
    """Raise RuntimeFailure when a version of so many items cannot fit in memory or on disk.

    The estimate is a lower bound: a build that passes may still run out. `folder`: where versions are stored. Training
    also builds in the folder for temporary files. `mapped`: whether the vectors are a map of a file.
    """
    dimension, spec = platform.encoder.dimension + (_LEARNED if training else 0), platform.index
    indexed = dimension * (1 if spec.builds_from_file else 4)
    stored = dimension * (4 if spec.originals == "float32" else 2) + indexed + _ITEM_BYTES
    for place in (folder, Path(tempfile.gettempdir())) if training else (folder,):
        _check_disk(place, items * stored, items)
    needed = items * ((0 if mapped else dimension * 4) + indexed + _ITEM_BYTES)
    if training and items <= _DENSE:
        needed += _SQUARES * items**2 * 4
    free = psutil.virtual_memory().available
    if needed > free:
        raise RuntimeFailure(
            f"{'training on' if training else 'a version of'} {items} items takes {needed >> 20} MiB of memory or more "
            f"and {free >> 20} are free: end other programs or take a larger machine"
        )


def _check_disk(folder: Path, needed: int, items: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise RuntimeFailure(f"{folder} cannot be written to: give this user the right to, or set another data_dir")
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RuntimeFailure(
            f"a version of {items} items takes {needed >> 20} MiB in {folder} or more and {free >> 20} are free there: "
            "make room, or set another data_dir"
        )
