"""What a build exports of the real encoder, half a minute of work: the platform of the session keeps it for another one
that the tests start.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def place_of(factory: pytest.TempPathFactory) -> Path:
    """The folder of the exports, one for all processes of a test run. It is there once all of it is."""
    root = factory.getbasetemp()
    return (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "exports"


def keep(data_dir: Path, place: Path) -> None:
    shutil.copytree(data_dir / "models", place.with_suffix(".part"))
    place.with_suffix(".part").rename(place)


def take(data_dir: Path, place: Path) -> None:
    """Nothing where none are kept yet: the next build makes them."""
    if place.exists():
        shutil.copytree(place, data_dir / "models")
