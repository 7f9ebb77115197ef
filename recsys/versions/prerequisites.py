"""What can be known before minutes of work: whether a build or a training has what it needs, or will fail for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from recsys.config import Platform
from recsys.encoders.base import model_folder
from recsys.errors import RuntimeFailure, VersionError
from recsys.index.base import engine

_LEARNED = 128
"""Dimensions of the learned part."""
_ITEM_BYTES = 500
"""Of an item's text and attributes, at the least."""
_COPIES = 2
"""Of the vectors in memory and on the disk while a version is built, at the least: theirs and the index's."""
_DENSE = 10_000
"""Items up to which training makes square matrices (`training/parameter_search.py`); it holds _SQUARES at a time."""
_SQUARES = 4


def check_tools(platform: Platform, *, training: bool = False) -> None:
    """VersionError, naming the setting or the package, when the engine or the encoder's weights are missing, or what
    training needs.
    """
    try:
        engine(platform.index).create(platform.index, platform.encoder.dimension)  # which imports its library
    except (ImportError, OSError) as error:  # the latter: a shared library of the package
        raise VersionError(
            f"index.engine: {platform.index.engine} cannot be used here ({error}); install recsys anew, or choose flat"
        ) from None
    if platform.encoder.kind != "hashing":
        model_folder(platform.encoder)
    if training and find_spec("torch") is None:
        raise VersionError("training needs PyTorch, which is not installed; install recsys anew")


def check_room(platform: Platform, folder: Path, items: int, *, training: bool = False) -> None:
    """RuntimeFailure when a version of so many items cannot fit in memory or on the disk.

    What is reckoned is the least that it takes, so what passes may still run out of it. `folder`: where versions lie;
    a training builds in the folder for temporary files as well.
    """
    dimension = platform.encoder.dimension + (_LEARNED if training else 0)
    needed = items * (_COPIES * dimension * 4 + _ITEM_BYTES)
    for place in (folder, Path(tempfile.gettempdir())) if training else (folder,):
        _check_disk(place, needed, items)
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
