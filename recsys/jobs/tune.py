"""The cheapest index settings that meet a target, found on a published version with the tastes of its users."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import Floats, Item
from recsys.encoders.catalogue import Progress
from recsys.errors import VersionError
from recsys.jobs.live_events import live_events
from recsys.jobs.patient_redis import patient_redis
from recsys.model.trained import Layout
from recsys.shard.snapshot import read_items, read_vectors
from recsys.tuning.filter_mix import filter_mix
from recsys.tuning.halving import Halving, Outcome, Target
from recsys.tuning.outcome import TastesOf
from recsys.tuning.probe_queries import ProbeQueries, probe_queries
from recsys.tuning.questions import Questions
from recsys.tuning.rung import Catalogue
from recsys.tuning.settings import settings
from recsys.versions.manifest import Manifest
from recsys.versions.model_files import read_model
from recsys.versions.store import VersionStore

_FILTERED = 0.4
"""Queries of each shape of filter, for each query of a kind."""
_LEAST_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Report:
    version: str
    recall: float
    """What was asked for."""
    items: int
    shards: int
    tastes_of: TastesOf
    """What the tastes among the queries were made of."""
    shapes: tuple[str, ...]
    """Shapes of filters among the queries; none: the items have no attributes."""
    outcome: Outcome
    shard_bytes: float | None
    """Memory of the process of one shard with what was chosen; None: nothing was."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """A published version and what it is asked. `texts` (I, d) are the text parts of its vectors, `even` its model laid
    over them at a balance of 1 (None: it learned nothing); `histories` None: made up, see `probe_queries`.
    """

    config: Config
    manifest: Manifest
    catalogue: Catalogue
    texts: Floats
    even: Layout | None
    histories: Interactions | None = None
    seed: int = 7

    @classmethod
    def of(cls, config: Config, store: VersionStore, manifest: Manifest, seed: int = 7) -> Tuning:
        """Read a version. Raises VersionError when a file is missing or damaged."""
        items: list[Item] = []
        parts, vectors = [], []
        for shard in range(len(manifest.shards)):
            folder = store.files(manifest.version, shard)
            some = read_items(folder)
            parts.append(np.arange(len(items), len(items) + len(some)))
            items += some
            vectors.append(read_vectors(folder))
        every = np.concatenate(vectors)
        texts, trained = every[:, : manifest.encoder.dimension], read_model(store, manifest)
        even = None if trained is None else trained.balanced(1.0).layout(items, texts, manifest.attributes)
        return cls(
            config, manifest, Catalogue(items, every, tuple(parts), manifest.attributes), texts, even, None, seed
        )

    def asked_by(self, histories: Interactions | None) -> Tuning:
        """The same with the tastes of these users; their items are those of the catalogue, in its order."""
        return replace(self, histories=histories)

    @property
    def item_ids(self) -> list[str]:
        return [item.item_id for item in self.catalogue.items]

    def run(self, target: Target, engines: Sequence[str] = (), say: Progress = lambda *_: None) -> Report:
        """Raises VersionError when an engine is unknown. Files go into the data folder and are removed."""
        start, home = time.perf_counter(), self.config.platform.home()
        shapes = filter_mix(self.catalogue.items, self.catalogue.declared, self.seed)
        tastes_of = self.probes(self.seed, 10, self.histories).tastes_of

        def ask(other: bool, n: int) -> Questions:
            probes = self.probes(self.seed + 1000 * other, n, _half(self.histories, odd=other))
            return Questions.of(probes, shapes, max(int(n * _FILTERED), 1), self.seed + other)

        each, dimension = len(self.catalogue) // len(self.catalogue.parts), self.catalogue.vectors.shape[1]
        chosen = settings(engines, each, dimension, self.config.platform.index)
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix="tuning-") as folder:
            halving = Halving(self.catalogue, target, self.config.tuning, Path(folder), ask, say)
            outcome = halving.run(chosen)
            choice = outcome.choice
            memory = None if choice is None else halving.shard_bytes(choice.trial)
        return Report(
            self.manifest.version,
            target.recall,
            len(self.catalogue),
            len(self.catalogue.parts),
            tastes_of,
            tuple(shapes),
            outcome,
            memory,
            round(time.perf_counter() - start, 1),
        )

    def probes(self, seed: int, n: int, histories: Interactions | None) -> ProbeQueries:
        """Queries of each kind for the vectors of the catalogue."""
        probes = probe_queries(self.texts, self.even, self.item_ids, histories, n, seed)
        space = self.manifest.space
        return probes if space is None else probes.balanced(self.texts.shape[1], space.balance or 1.0)


def version_of(config: Config, version: str | None) -> tuple[VersionStore, Manifest]:
    """The version that is named; None: the served one, else the newest. Raises VersionError when there is none, or it
    has too few items.
    """
    store = VersionStore.of(config.platform)
    published = [manifest.version for manifest in store.versions()]
    name = version or store.current() or (published[-1] if published else None)
    if name is None:
        raise VersionError("there is no version to tune for; build one first: `recsys build FILES`")
    manifest = store.manifest(name)
    if manifest.items < _LEAST_ITEMS:
        raise VersionError(
            f"version {name} has {manifest.items} items: under {_LEAST_ITEMS} exact search is best; set engine: flat"
        )
    return store, manifest


async def live_histories(config: Config, redis_url: str, item_ids: Sequence[str], say: Progress) -> Interactions:
    """Of the users of the platform, those of the newest events."""
    serving = config.serving
    async with patient_redis(redis_url, config.platform, "start the same search again") as redis:
        return await live_events(redis, serving.history, serving.event_types, item_ids, serving.retrain.events, say)


def _half(histories: Interactions | None, *, odd: bool) -> Interactions | None:
    """Every second user, so that who verifies is not who chose."""
    if histories is None or histories.users < 2:
        return histories
    return histories.select(np.arange(int(odd), histories.users, 2))
