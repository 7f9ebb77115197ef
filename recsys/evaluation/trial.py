"""A temporary version, which is built, served in this process, and deleted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recsys.config.serving import Serving
from recsys.data.interactions import Interactions
from recsys.evaluation.offline import Offline
from recsys.model.trained import Trained
from recsys.ranking.known_features import NOTHING, Known
from recsys.versions.build import Build, Content
from recsys.versions.store import VersionStore


@contextmanager
def trial(
    build: Build,
    content: Content,
    trained: Trained | None,
    interactions: Interactions,
    settings: Serving,
    known: Known = NOTHING,
) -> Iterator[Offline]:
    """Serve a temporary version of the content. `interactions` give likes, trends, and tastes for measuring recall.
    `known`: see `Offline`.

    Nothing is written to the store of `build`.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-trial-") as folder:
        store = VersionStore(Path(folder))
        content = replace(content, histories=interactions)
        version = replace(build, store=store).publish(content, trained=trained).version
        yield Offline(store, version, interactions, settings, build.tuning, known)
