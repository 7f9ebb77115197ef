"""Makes what contenders start from, once a workload: `python -m load_tests.comparison.prepare FOLDER KIND WORKLOAD`.

A process of its own, so that a large build leaves no memory behind in the one that measures. KIND is `one` (one index
over everything), `shards` (an index a shard), `platform` (a version, built by the platform's own code) or `trained`
(one that has learned from made-up interactions). KIND.json in the folder says what it took: `build_s` by the clock,
`build_cpu_s` of all threads, `build_mib` of memory at the most beyond the items and vectors themselves, and the
`index_bytes` and `version_bytes` that came out; `mapped_bytes` are those that a shard maps beside its vectors.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from load_tests.comparison.interactions import People
from load_tests.comparison.workload import Floats, Workload, build_index, item_id, title, user_id

if TYPE_CHECKING:
    from recsys.config.serving import Serving
    from recsys.versions.build import Build
    from recsys.versions.manifest import Manifest


def prepare_one(work: Workload, folder: Path, threads: int) -> Callable[[], list[Path]]:
    def build() -> list[Path]:
        build_index(work.vectors, np.arange(work.items), folder / "all.hnsw", threads)
        return [folder / "all.hnsw"]

    return build


def prepare_shards(work: Workload, folder: Path, threads: int) -> Callable[[], list[Path]]:
    def build() -> list[Path]:
        files = [folder / f"shard-{shard}.hnsw" for shard in range(work.shards)]
        for shard, file in enumerate(files):
            mine = np.arange(shard, work.items, work.shards)
            build_index(work.vectors[mine], mine, file, threads)
        return files

    return build


def prepare_platform(work: Workload, folder: Path, threads: int) -> Callable[[], list[Path]]:
    """The platform's own build, with an encoder that knows the vectors already."""
    from recsys.datatypes import Item  # noqa: PLC0415
    from recsys.versions.build import Content  # noqa: PLC0415

    build, _ = _build(work, folder / "platform.yaml", threads)
    items = [Item(item_id(n), title(n)) for n in range(work.items)]
    return lambda: _served(build, build.publish(Content(items)))


def prepare_trained(work: Workload, folder: Path, threads: int) -> Callable[[], list[Path]]:
    """The platform's own training. SystemExit where no trees came of it: the version is to have all that there is."""
    from recsys.data.interactions import Interactions  # noqa: PLC0415
    from recsys.datatypes import Item  # noqa: PLC0415
    from recsys.evaluation.splits import upcoming  # noqa: PLC0415
    from recsys.training.trainer import Trainer  # noqa: PLC0415
    from recsys.versions.build import Content, by_text  # noqa: PLC0415

    people, now = People(work), time.time()
    build, serving = _build(work, folder / "trained.yaml", threads)
    items = [
        Item(item_id(n), title(n), attributes=own, created_at=now - age)
        for n, (own, age) in enumerate(zip(people.attributes(), people.ages().tolist(), strict=True))
    ]
    likes, ids = people.likes, [item.item_id for item in items]
    liked = [ids[item] for item in likes.items.tolist()]
    data = Interactions.of(
        [user_id(n) for n in likes.people.tolist()], liked, (now - likes.ages).tolist(), catalogue=ids
    )

    def train() -> list[Path]:
        model = Trainer(build, serving, split=upcoming).train(items, work.vectors, data, _say)
        print(f"  {model.card.validation}, weights {dict(model.weights)}", flush=True)
        if model.ranker is None:
            raise SystemExit(
                "no trees were better than the blend, so not all that a version may learn would be measured"
            )
        content = Content(items, by_text(items, work.vectors), histories=data)
        return _served(build, build.publish(content, trained=model))

    return train


def _build(work: Workload, file: Path, threads: int) -> tuple[Build, Serving]:
    """A build as the config file says, by an encoder that knows the vectors already; what it serves with."""
    from deployments.machine.serve_config import read_for_serve  # noqa: PLC0415
    from recsys.versions.build import Build  # noqa: PLC0415
    from recsys.versions.store import VersionStore  # noqa: PLC0415

    class Known:
        fingerprint = f"bench-{work.key}"
        dimension = work.dimension

        def encode(self, texts: Sequence[str]) -> Floats:
            return work.vectors[[int(text.rpartition(" ")[2]) for text in texts]]

    config = read_for_serve(file)
    tuning = config.tuning.model_copy(update={"ef_search": max(work.ef, _EF_VERIFIED)})
    return Build(config.platform, VersionStore.of(config.platform), Known(), threads, tuning), config.serving


def _served(build: Build, manifest: Manifest) -> list[Path]:
    """Promote the version; its files."""
    from recsys.versions.storage import MANIFEST  # noqa: PLC0415

    # All contenders walk with the workload's ef, which shards would not go below what the build was measured with.
    plain = manifest.model_copy(update={"tuned": None})
    folder = build.store.folder(manifest.version)
    (folder / MANIFEST).write_text(plain.model_dump_json())
    build.store.promote(manifest.version)
    return [path for path in folder.rglob("*") if path.is_file()]


def _say(step: str, done: int, total: int) -> None:
    print(f"  {step} {done} of {total}", flush=True)


_EF_VERIFIED = 2048
"""A build's recall is measured with means of random items, which lie between the clusters made here, and are found by
a wider walk only: 0.937 at 100,000 items of 128 dimensions and ef 128, under what is published, where the users' tastes
find nearly all. With which ef they are served, and their recall, stands beside every measurement."""
_INDEX = ("index.bin", ".hnsw")
_MAPPED = ("index.bin", "index.nodes", "columns.bin")
KINDS = {"one": prepare_one, "shards": prepare_shards, "platform": prepare_platform, "trained": prepare_trained}


def main() -> None:
    folder, kind, given = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    work = Workload(**given)
    build = KINDS[kind](work, folder, os.cpu_count() or 1)
    _ = work.vectors
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far: making vectors is no building
    before, start, cpu = _mib("VmRSS"), time.perf_counter(), time.process_time()
    files = build()
    summary = {
        "build_s": round(time.perf_counter() - start, 2),
        "build_cpu_s": round(time.process_time() - cpu, 2),
        "build_mib": round(_mib("VmHWM") - before, 1),
        "index_bytes": sum(file.stat().st_size for file in files if file.name.endswith(_INDEX)),
        "mapped_bytes": sum(file.stat().st_size for file in files if file.name in _MAPPED),
        "version_bytes": sum(file.stat().st_size for file in files),
    }
    (folder / f"{kind}.json").write_text(json.dumps(summary))


def _mib(field: str) -> float:
    """Of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
