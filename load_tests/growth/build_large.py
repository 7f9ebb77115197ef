"""Builds the version of a `Large` workload in steps: `python -m load_tests.growth.build_large FOLDER THREADS WORKLOAD`.

Each step that was finished is kept, and the same command goes on behind it. `built.json` says of each what it took:
seconds by the clock, CPU seconds, and MiB of memory at the most that are the process's own (without maps of files).

rows     makes vectors and items, and writes all files of the shard but the index
index    links the graph, from a map of the file of the vectors
answers  the exact answers that recall is measured with
publish  checksums, manifest, promotion
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from load_tests.comparison.workload import item_id, tastes_of, title
from load_tests.growth.large import ASKED, USERS, Large
from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.data.made_on_demand import MadeOnDemand
from recsys.datatypes import Item, Rows, item_keys
from recsys.encoders.base import fingerprint
from recsys.files import checksums
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import write_index, write_rows
from recsys.state.item_log import START_OF_LOG
from recsys.versions.manifest import Manifest, ShardManifest
from recsys.versions.store import VersionStore

_BLOCK = 1 << 16
_LOOK_S = 0.5


class MadeItems(MadeOnDemand[Item]):
    """Items that are made when somebody asks for them, in catalogue order."""

    def __init__(self, items: int) -> None:
        keys = item_keys(item_id(number) for number in range(items))
        self.numbers = np.argsort(keys, kind="stable").astype(np.int32)
        """(items,) the number of the item in each place."""

    def __len__(self) -> int:
        return len(self.numbers)

    def made(self, places: Rows) -> list[Item]:
        return [Item(item_id(number), title(number)) for number in self.numbers[places].tolist()]


@dataclass
class Making:
    folder: Path
    work: Large
    threads: int

    def __post_init__(self) -> None:
        self.summary: dict[str, Any] = {}
        if self._file.exists():
            self.summary = json.loads(self._file.read_text())
        encoder = EncoderSpec(kind="hashing", dimension=self.work.dimension)
        settings = {name: getattr(self.work, name) for name in ("m", "ef_construction", "originals")}
        self.spec = IndexSpec.of("hnsw_int8", **settings)
        self.platform = Platform(shards=1, encoder=encoder, index=self.spec, data_dir=str(self.folder / "data"))

    @property
    def _file(self) -> Path:
        return self.folder / "built.json"

    @property
    def draft(self) -> Path:
        return self.folder / "draft"

    @property
    def shard(self) -> Path:
        return self.draft / "shard-0"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        print(f"{time.strftime('%H:%M:%S')} {self.work.items:,} items: {name}", flush=True)
        start, cpu = time.perf_counter(), time.process_time()
        with _Peak() as peak:
            yield
        taken = {"s": round(time.perf_counter() - start, 1), "cpu_s": round(time.process_time() - cpu, 1)}
        self.summary[name] = {**taken, "own_mib": round(peak.mib), "threads": self.threads}
        self._file.write_text(json.dumps(self.summary, indent=2))
        print(f"{time.strftime('%H:%M:%S')} {name}: {self.summary[name]}", flush=True)

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("rows", "index", "answers", "publish"):
            if name not in self.summary:
                with self.step(name):
                    getattr(self, name)()
        self.summary["done"] = True
        self._file.write_text(json.dumps(self.summary, indent=2))

    def rows(self) -> None:
        shutil.rmtree(self.draft, ignore_errors=True)
        items = MadeItems(self.work.items)
        place = np.empty(len(items), np.int32)
        place[items.numbers] = np.arange(len(items), dtype=np.int32)
        likes = self.work.drawn_likes()
        liked = np.empty((*likes.shape, self.work.dimension), np.float32)
        kind = np.float32 if self.work.originals == "float32" else np.float16
        vectors = np.empty((len(items), self.work.dimension), kind)
        for part, some in self.work.parts():
            vectors[place[part]] = some
            mine = (likes >= part.start) & (likes < part.stop)
            liked[mine] = some[likes[mine] - part.start]
        np.savez(self.folder / USERS, likes=likes, tastes=tastes_of(liked))
        write_rows(self.shard, items, vectors, Sketcher.fit(vectors), originals=self.work.originals)

    def index(self) -> None:
        write_index(self.shard, self.spec, self.threads)

    def answers(self) -> None:
        with np.load(self.folder / USERS) as stored:
            users = dict(stored)
        vectors, numbers = np.load(self.shard / "vectors.npy", mmap_mode="r"), MadeItems(self.work.items).numbers
        tastes, k = users["tastes"][:ASKED], 10
        rows, scores = np.zeros((len(tastes), 0), np.int64), np.zeros((len(tastes), 0), np.float32)
        for start in range(0, len(vectors), _BLOCK):
            likeness = tastes @ np.asarray(vectors[start : start + _BLOCK], np.float32).T
            top = np.argpartition(-likeness, min(k, likeness.shape[1] - 1), axis=1)[:, :k]
            rows = np.hstack([rows, start + top])
            scores = np.hstack([scores, np.take_along_axis(likeness, top, 1)])
            best = np.argsort(-scores, axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, best, 1), np.take_along_axis(scores, best, 1)
        np.savez(self.folder / USERS, **{**users, "exact": numbers[rows]})

    def publish(self) -> None:
        store = VersionStore.of(self.platform)
        store.root.mkdir(parents=True, exist_ok=True)
        sums = checksums(self.shard)
        entry = ShardManifest(items=self.work.items, cursor=START_OF_LOG, sha256=sums)
        manifest = Manifest(
            version=store.new_name(),
            created_at=datetime.now(UTC),
            items=self.work.items,
            encoder=self.platform.encoder,
            fingerprint=fingerprint(self.platform.encoder),
            index=self.spec,
            routing=self.platform.routing,
            attributes={},
            shards=[entry],
            recall_at_10=None,
        )
        self.summary["bytes"] = {file.name: file.stat().st_size for file in sorted(self.shard.iterdir())}
        store.publish(self.draft, manifest)
        store.promote(manifest.version)


class _Peak:
    """The most memory that was the process's own."""

    mib = 0.0

    def __enter__(self) -> Self:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            kib = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.mib = max(self.mib, kib / 1024)
            if self._end.wait(_LOOK_S):
                return


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ.setdefault("OMP_NUM_THREADS", sys.argv[2])
    Making(Path(sys.argv[1]), Large(**json.loads(sys.argv[3])), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
