"""From items to a published version: encode, split into shards, index, verify, publish."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from recsys.config import IndexSpec, Platform, ShardTuning
from recsys.datatypes import Floats, Item
from recsys.encoder import Encoder
from recsys.encoding import Progress, encode
from recsys.errors import VersionError
from recsys.evaluation import inspect, recall, sample_queries, sample_tastes, self_lookup
from recsys.routing import Router
from recsys.shard import START_OF_LOG, Shard
from recsys.sketches import Sketcher
from recsys.snapshot import read_shard, write_indexes, write_rows
from recsys.storage import replace
from recsys.training.model import Layout, Trained
from recsys.versions import MODEL, RANKER, Manifest, ShardManifest, VersionStore, sha256

_RECALL_QUERIES = 500
_LOOKED_UP = 200
"""Items of each shard that are searched for by their own vectors."""
RECALL_FLOOR = 0.95
"""A version whose measured recall@10 or self-lookup is below this is not published."""


Indexer = Callable[[Sequence[Path], IndexSpec, int], Iterator[Path]]
"""Makes `snapshot.write_index` of every folder; gives each when it is done."""


@dataclass(frozen=True, slots=True)
class Content:
    """What goes into a version."""

    items: Sequence[Item]
    """The last of several with one id wins."""
    known: Mapping[str, Floats] = field(default_factory=dict)
    """Vectors by this encoder of texts that need not be encoded again."""
    cursors: Sequence[str] = ()
    """By shard, the log entry up to which the items contain the log; empty: nothing of it. See `Manifest.cut`."""
    base: str | None = None
    """See `Manifest.base`."""
    brought: str = ""
    """A hash of the vectors in `known` that came with the items: no text says what they are. Empty: there are none."""


@dataclass(frozen=True, slots=True)
class Build:
    """What a version is built with."""

    platform: Platform
    store: VersionStore
    encoder: Encoder
    threads: int
    tuning: ShardTuning
    indexer: Indexer = write_indexes
    """Where shards are indexed: one after another in this process, or on a cluster that has the same folders."""

    def publish(
        self, content: Content, progress: Progress = lambda *_: None, trained: Trained | None = None
    ) -> Manifest:
        """Build and publish a version, not yet promoted. To be used within `store.drafts.alone()`.

        `trained` is what was learned of the items; None: the version goes by texts. When the build dies on the way
        nothing of it is visible, and the same content goes on where it was: encoded texts and
        indexed shards are kept. Raises VersionError when recall@10 or self-lookup is under RECALL_FLOOR.
        """
        items = list({item.item_id: item for item in content.items}.values())
        with self.store.drafts.draft(self._key(items, content, trained)) as draft:
            texts = self._vectors(draft / "encoded", items, content.known, progress)
            layout = None if trained is None else trained.layout(items, texts, self.platform.attributes)
            shards = self._write(draft, items, texts, layout, content, progress)
            learned = {} if trained is None else _learned(draft, trained)
            manifest = self._verified(shards, items, _queries(texts, layout), content, progress)
            manifest = manifest.model_copy(update=learned)
            shutil.rmtree(draft / "encoded", ignore_errors=True)
            for left in draft.glob("shard-*.json"):
                left.unlink()
            self.store.publish(draft, manifest)
        return manifest

    def _key(self, items: Sequence[Item], content: Content, trained: Trained | None) -> str:
        """Same key, same version: a hash of everything that goes into it."""
        spec = self.platform.model_dump_json(include={"shards", "routing", "index", "attributes"})
        digest = hashlib.sha256(f"{self.encoder.fingerprint}{spec}{list(content.cursors)}{content.base}".encode())
        digest.update(content.brought.encode())
        for item in items:
            digest.update(orjson.dumps(item, option=orjson.OPT_SORT_KEYS))
        if trained is not None:
            digest.update(trained.digest())
        return digest.hexdigest()[:32]

    def _vectors(self, folder: Path, items: Sequence[Item], known: Mapping[str, Floats], progress: Progress) -> Floats:
        vectors = np.zeros((len(items), self.encoder.dimension), np.float32)
        passages = [item.passage() for item in items]
        new = [i for i, passage in enumerate(passages) if passage not in known]
        vectors[new] = encode(self.encoder, [passages[i] for i in new], folder, progress)
        for i, passage in enumerate(passages):
            if (vector := known.get(passage)) is not None:
                vectors[i] = vector
        return vectors

    def _write(
        self,
        draft: Path,
        items: Sequence[Item],
        texts: Floats,
        layout: Layout | None,
        content: Content,
        progress: Progress,
    ) -> list[tuple[Shard, ShardManifest]]:
        router = Router(self.platform.routing, self.platform.shards)
        owners = np.fromiter((router.owner(item) for item in items), np.int64, len(items))
        sketcher = Sketcher.fit(texts)
        vectors = texts if layout is None else layout.vectors
        count = self.platform.shards
        mine = [np.flatnonzero(owners == number) for number in range(count)]
        folders = [draft / f"shard-{number}" for number in range(count)]
        todo = [number for number in range(count) if not _complete(folders[number])]
        progress("index", count - len(todo), count)
        for number in todo:
            shutil.rmtree(folders[number], ignore_errors=True)
            own = [items[i] for i in mine[number].tolist()]
            learned = None if layout is None else layout.part(mine[number])
            write_rows(folders[number], own, vectors[mine[number]], sketcher, learned)
        indexed = self.indexer([folders[number] for number in todo], self.platform.index, self.threads)
        for done, folder in enumerate(indexed, count - len(todo) + 1):
            replace(_sums(folder), orjson.dumps({path.name: sha256(path) for path in sorted(folder.iterdir())}))
            progress("index", done, count)
        made = []
        for number, folder in enumerate(folders):
            cursor = content.cursors[number] if content.cursors else START_OF_LOG
            sums = orjson.loads(_sums(folder).read_bytes())
            shard = read_shard(folder, draft.name, self.platform.index, self.platform.attributes, cursor)
            shard.tune(self.tuning)
            made.append((shard, ShardManifest(items=len(mine[number]), cursor=cursor, sha256=sums)))
        return made

    def _verified(
        self,
        made: Sequence[tuple[Shard, ShardManifest]],
        items: Sequence[Item],
        queries: Floats,
        content: Content,
        progress: Progress,
    ) -> Manifest:
        progress("verify", 0, len(made) + 1)
        for number, (shard, known) in enumerate(made):
            inspect(shard, known.items)
            progress("verify", number + 1, len(made) + 1)
        shards = [shard for shard, _ in made]
        measured = recall(shards, queries) if items else None
        found = float(np.mean([self_lookup(s, _LOOKED_UP) for s in shards if s.items.live])) if items else None
        progress("verify", len(made) + 1, len(made) + 1)
        for name, share in (("recall@10", measured), ("self-lookup", found)):
            if share is not None and share < RECALL_FLOOR:
                raise VersionError(
                    f"{name} is {share:.4f}, under {RECALL_FLOOR}; raise ef_search of the shards, or index.m"
                )
        return Manifest(
            version=self.store.new_name(),
            created_at=datetime.now(UTC),
            items=len(items),
            encoder=self.platform.encoder,
            fingerprint=self.encoder.fingerprint,
            index=self.platform.index,
            routing=self.platform.routing,
            attributes=dict(self.platform.attributes),
            shards=[known for _, known in made],
            recall_at_10=measured,
            self_lookup=found,
            base=content.base,
            cut=list(content.cursors) if content.base else [],
        )


def known_texts(items: Sequence[Item], texts: Floats) -> dict[str, Floats]:
    """For `Content.known`, of vectors in the order of the items."""
    return {item.passage(): text for item, text in zip(items, texts, strict=True)}


def _queries(texts: Floats, layout: Layout | None) -> Floats:
    """What the version will be asked: texts, and of one that learned tastes as well, half and half."""
    if not len(texts):
        return texts
    if layout is None:
        return sample_queries(texts, _RECALL_QUERIES)
    space = layout.trained.space
    contexts = np.concatenate([texts, layout.contexts], axis=1)
    tastes = [space.query(taste) for taste in sample_tastes(space.added(contexts), _RECALL_QUERIES // 2)]
    searched = [space.text_query(text) for text in sample_queries(texts, _RECALL_QUERIES // 2)]
    return np.stack([*tastes, *searched])


def _learned(draft: Path, trained: Trained) -> dict[str, Any]:
    """Write the model and its trees; what the manifest says of the training."""
    checksum = None
    if trained.ranker is not None:
        (draft / RANKER).write_text(trained.ranker)
        checksum = sha256(draft / RANKER)
    trained.save(draft / MODEL)
    model = "learned-blend" if trained.ranker is None else "learned-trees"
    told = {"space": trained.space, "weights": dict(trained.weights), "card": trained.card}
    return {"model": model, "ranker_sha256": checksum, "model_sha256": sha256(draft / MODEL), **told}


def _sums(folder: Path) -> Path:
    """Beside a shard that was written to its end: the checksums of its files."""
    return folder.with_name(f"{folder.name}.json")


def _complete(folder: Path) -> bool:
    """Whether a shard was written to its end by a build that died later."""
    if not _sums(folder).exists():
        return False
    known = orjson.loads(_sums(folder).read_bytes())
    return all((folder / name).exists() and sha256(folder / name) == expected for name, expected in known.items())
