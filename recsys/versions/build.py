"""From items to a published version: encode, split into shards, index, verify, publish."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import Floats, Item, Rows
from recsys.encoders.base import Encoder
from recsys.encoders.catalogue import Progress, WhenNeeded
from recsys.errors import VersionError
from recsys.files import checksums, intact, replace
from recsys.index.base import check
from recsys.model.trained import Trained
from recsys.routing import FIRST, Router
from recsys.shard.inspection import inspect
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import drop_index, read_shard, write_indexes, write_rows
from recsys.state.item_log import START_OF_LOG
from recsys.state.tie_breaking import in_catalogue_order
from recsys.tuning.attempts import Plan, no_way_left, plans
from recsys.tuning.measuring import Measured, measure, walk_us
from recsys.tuning.outcome import Tuned
from recsys.versions.manifest import Manifest, ShardManifest
from recsys.versions.model_files import write_model
from recsys.versions.prerequisites import check_room
from recsys.versions.store import VersionStore
from recsys.versions.text_vectors import in_memory, text_vectors

Indexer = Callable[[Sequence[Path], IndexSpec, int], Iterator[Path]]
"""Runs `snapshot.write_index` on every folder, with an index spec and a number of threads. Yields each finished one."""


@dataclass(frozen=True, slots=True)
class Content:
    """What goes into a version."""

    items: Sequence[Item]
    """The last of several with one id wins."""
    encoded: Mapping[str, Floats] = field(default_factory=dict)
    """Vector of a text, float32 from the build's encoder. These texts are not encoded again."""
    cursors: Sequence[str] = ()
    """By shard of the version to be, the last entry of its log that the items include. Empty: they include none."""
    base: str | None = None
    """See `Manifest.base`."""
    layout: str = FIRST
    """See `Manifest.layout`."""
    brought: str = ""
    """Hash of the vectors in `encoded` or `vectors` that were supplied. Empty: none were supplied."""
    vectors: Floats | None = None
    """(n, dimension) float32 or float16 of all items, a map of a file will do, from the build's encoder. The items are
    then in catalogue order, each once. None: texts are encoded."""
    histories: Interactions | None = None
    """Users whose taste vectors are used as queries when recall is measured. They are not stored in the version. None:
    recall is measured with item vectors."""


@dataclass(frozen=True, slots=True)
class Build:
    """What a version is built with."""

    platform: Platform
    store: VersionStore
    encoder: Encoder
    threads: int
    tuning: ShardTuning
    indexer: Indexer = write_indexes
    """Indexes shards one after another in this process, or on a cluster that sees the same folders."""
    stronger: bool = False
    """Whether to begin with the setting behind the served version's, with which shards cannot hold their recall."""

    @classmethod
    def of(cls, config: Config, say: Progress = lambda *_: None, indexer: Indexer = write_indexes) -> Build:
        """Return the build that the config file describes, on all cores.

        The encoder is exported now. It is loaded when the first text is encoded.
        """
        platform, threads = config.platform, os.cpu_count() or 1
        store, encoder = VersionStore.of(platform), WhenNeeded(platform, threads, say)
        return cls(platform, store, encoder, threads, config.tuning, indexer)

    def publish(
        self, content: Content, progress: Progress = lambda *_: None, trained: Trained | None = None
    ) -> Manifest:
        """Build and publish a version, and do not promote it. The caller holds `store.drafts.alone()`.

        `trained`: the model learned from interactions; None: the version ranks by texts alone. Nothing of an
        interrupted build is visible. The next build of the same content reuses its encoded texts and indexed shards.
        Raises VersionError when no permitted index setting brings recall@10 of every kind of query, and the
        self-lookup, to RECALL_FLOOR.
        """
        items = in_catalogue_order(content.items)
        if content.vectors is not None and items is not content.items:
            raise ValueError("vectors of all items need items in catalogue order")
        mapped = content.vectors is not None or not in_memory(len(items), self.encoder.dimension)
        check_room(self.platform, self.store.root, len(items), mapped=mapped)
        check(self.platform.index)
        with self.store.drafts.draft(self._key(items, content, trained), _drop_indexes) as draft:
            texts = content.vectors
            if texts is None:
                texts = text_vectors(items, content.encoded, self.encoder, draft / "encoded", progress)
            start, tried, failed = time.perf_counter(), [], ""
            for plan in plans(items, texts, content.histories, trained, self._start(), self.platform.attributes):
                shards = self._write(draft, items, texts, plan, content, progress)
                measured = self._measured(shards, plan, progress) if items else None
                if measured is None or measured.holds:
                    break
                tried.append(measured.words(plan.spec, plan.balance))
                failed = no_way_left(plan, measured)
            else:
                raise VersionError(failed)
            learned = {} if plan.layout is None else write_model(draft, plan.layout.trained)
            manifest = self._manifest(shards, items, plan, content).model_copy(update=learned)
            if measured is not None:
                tried.append(measured.words(plan.spec, plan.balance))
                tuned = Tuned(
                    asked=self.platform.index,
                    ef_search=measured.ef_search,
                    balance=plan.balance,
                    recall=dict(measured.recall),
                    tastes_of=plan.probes.tastes_of,
                    walk_us=walk_us([shard for shard, _ in shards], plan.probes),
                    seconds=round(time.perf_counter() - start, 1),
                    tried=tried,
                )
                quality = {"recall_at_10": min(measured.recall.values()), "self_lookup": measured.self_lookup}
                manifest = manifest.model_copy(update={**quality, "tuned": tuned})
            shutil.rmtree(draft / "encoded", ignore_errors=True)
            for sums in draft.glob("shard-*.json"):
                sums.unlink()
            self.store.publish(draft, manifest)
        return manifest

    def _start(self) -> IndexSpec:
        """Return the first index setting to try.

        It is the one that the served version was tuned to, unless the config file has changed its index since. With
        `stronger` it is the next one, if there is another.
        """
        configured, current = self.platform.index, self.store.current()
        served = None if current is None else self.store.manifest(current)
        if served is None or served.tuned is None or served.tuned.asked != configured:
            return configured
        return next(served.index.stronger(), served.index) if self.stronger else served.index

    def _key(self, items: Sequence[Item], content: Content, trained: Trained | None) -> str:
        """Return a hash of everything that goes into the version. Builds with one key continue one draft."""
        spec = self.platform.model_dump_json(include={"shards", "routing", "index", "attributes"})
        origin = f"{content.layout}{list(content.cursors)}{content.base}"
        digest = hashlib.sha256(f"{self.encoder.fingerprint}{spec}{origin}".encode())
        digest.update(content.brought.encode())
        digest.update(b"stronger" if self.stronger else b"")
        for item in items:
            digest.update(orjson.dumps(item, option=orjson.OPT_SORT_KEYS))
        if trained is not None:
            digest.update(trained.digest())
        return digest.hexdigest()[:32]

    def _write(
        self,
        draft: Path,
        items: Sequence[Item],
        texts: Floats,
        plan: Plan,
        content: Content,
        progress: Progress,
    ) -> list[tuple[Shard, ShardManifest]]:
        router = Router(self.platform.routing, self.platform.shards)
        sketcher = Sketcher.fit(texts)
        layout, recipe = plan.layout, f"{plan.spec.model_dump_json()} {plan.balance}"
        vectors = texts if layout is None else layout.vectors
        count = self.platform.shards
        rows = _rows_of_shards(router, items)
        folders = [draft / f"shard-{number}" for number in range(count)]
        todo = [number for number in range(count) if not _complete(folders[number], recipe)]
        progress("index", count - len(todo), count)
        for number in todo:
            drop_index(folders[number])
            shutil.rmtree(folders[number], ignore_errors=True)
            mine, learned = rows[number], None if layout is None else layout.part(rows[number])
            whole = len(mine) == len(items)  # nothing is copied of a version with one shard
            own, parts = (items, vectors) if whole else ([items[i] for i in mine.tolist()], vectors[mine])
            write_rows(folders[number], own, parts, sketcher, learned, plan.spec.originals)
        indexed = self.indexer([folders[number] for number in todo], plan.spec, self.threads)
        for done, folder in enumerate(indexed, count - len(todo) + 1):
            replace(_sums(folder), orjson.dumps({"recipe": recipe, "sha256": checksums(folder)}))
            progress("index", done, count)
        built = []
        for number, folder in enumerate(folders):
            cursor = content.cursors[number] if content.cursors else START_OF_LOG
            sums = orjson.loads(_sums(folder).read_bytes())["sha256"]
            shard = read_shard(folder, draft.name, plan.spec, self.platform.attributes, cursor)
            shard.tune(self.tuning)
            built.append((shard, ShardManifest(items=len(rows[number]), cursor=cursor, sha256=sums)))
        return built

    def _measured(self, built: Sequence[tuple[Shard, ShardManifest]], plan: Plan, progress: Progress) -> Measured:
        progress("verify", 0, len(built) + 1)
        measured = measure([shard for shard, _ in built], plan.probes, plan.spec, self.tuning)
        progress("verify", 1, len(built) + 1)
        for number, (shard, entry) in enumerate(built):
            if measured.holds:
                inspect(shard, entry.items)
            progress("verify", number + 2, len(built) + 1)
        return measured

    def _manifest(
        self, built: Sequence[tuple[Shard, ShardManifest]], items: Sequence[Item], plan: Plan, content: Content
    ) -> Manifest:
        return Manifest(
            version=self.store.new_name(),
            created_at=datetime.now(UTC),
            items=len(items),
            encoder=self.platform.encoder,
            fingerprint=self.encoder.fingerprint,
            index=plan.spec,
            routing=self.platform.routing,
            layout=content.layout,
            attributes=dict(self.platform.attributes),
            shards=[entry for _, entry in built],
            recall_at_10=None,
            base=content.base,
        )


def by_text(items: Sequence[Item], texts: Floats) -> dict[str, Floats]:
    """Return `Content.encoded` from vectors in the order of the items, (n, dimension) float32."""
    return {item.passage(): text for item, text in zip(items, texts, strict=True)}


def _rows_of_shards(router: Router, items: Sequence[Item]) -> list[Rows]:
    """By shard, the places of its items."""
    if router.shards == 1:
        return [np.arange(len(items))]
    owners = np.fromiter((router.owner(item) for item in items), np.int64, len(items))
    return [np.flatnonzero(owners == number) for number in range(router.shards)]


def _drop_indexes(draft: Path) -> None:
    for folder in draft.glob("shard-*/"):
        drop_index(folder)


def _sums(folder: Path) -> Path:
    """Return the file beside a complete shard that holds its recipe and the checksums of its files."""
    return folder.with_name(f"{folder.name}.json")


def _complete(folder: Path, recipe: str) -> bool:
    """Return whether an interrupted build completed this shard by this recipe, and its files are intact."""
    if not _sums(folder).exists():
        return False
    written = orjson.loads(_sums(folder).read_bytes())
    return written["recipe"] == recipe and intact(folder, written["sha256"])
