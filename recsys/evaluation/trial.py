"""A version that nobody publishes: built for a moment, served in this process, and gone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recsys.config import Serving
from recsys.data.interactions import Interactions
from recsys.evaluation.offline import Offline
from recsys.model.trained import Trained
from recsys.versions.build import Build, Content
from recsys.versions.store import VersionStore


@contextmanager
def trial(
    build: Build, content: Content, trained: Trained | None, known: Interactions, settings: Serving
) -> Iterator[Offline]:
    """`known` gives the items' likes and trends, and tastes to measure recall with; `build`'s store is not touched."""
    with tempfile.TemporaryDirectory(prefix="recsys-trial-") as folder:
        store = VersionStore(Path(folder))
        content = replace(content, histories=known)
        version = replace(build, store=store).publish(content, trained=trained).version
        yield Offline(store, version, known, settings, build.tuning)
