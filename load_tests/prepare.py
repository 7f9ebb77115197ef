"""Makes what contenders start from, once a workload: `python -m load_tests.prepare FOLDER KIND WORKLOAD`.

A process of its own, so that a large build leaves no memory behind in the one that measures. KIND is `one` (one index
over everything), `shards` (an index a shard) or `platform` (a version, built by the platform's own code).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from load_tests.workload import Floats, Workload, build_index, item_id, title


def prepare_one(work: Workload, folder: Path, threads: int) -> float:
    return build_index(work.vectors, np.arange(work.items), folder / "all.hnsw", threads)


def prepare_shards(work: Workload, folder: Path, threads: int) -> float:
    taken = 0.0
    for shard in range(work.shards):
        mine = np.arange(shard, work.items, work.shards)
        taken += build_index(work.vectors[mine], mine, folder / f"shard-{shard}.hnsw", threads)
    return taken


def prepare_platform(work: Workload, folder: Path, threads: int) -> float:
    """The platform's own build, with an encoder that knows the vectors already."""
    from deployments.serve_config import platform_of, serve_config, tuning_of  # noqa: PLC0415
    from recsys.building import Build, Content  # noqa: PLC0415
    from recsys.datatypes import Item  # noqa: PLC0415
    from recsys.versions import VersionStore  # noqa: PLC0415

    class Known:
        fingerprint = f"bench-{work.key}"
        dimension = work.dimension

        def encode(self, texts: list[str]) -> Floats:
            return work.vectors[[int(text.rpartition(" ")[2]) for text in texts]]

    config = serve_config(folder / "platform.yaml")
    platform = platform_of(config)
    store = VersionStore.of(platform)
    items = [Item(item_id(n), title(n)) for n in range(work.items)]
    _ = work.vectors
    start = time.perf_counter()
    manifest = Build(platform, store, Known(), threads, tuning_of(config, 0)).publish(Content(items))
    taken = time.perf_counter() - start
    store.promote(manifest.version)
    return taken


KINDS = {"one": prepare_one, "shards": prepare_shards, "platform": prepare_platform}


def main() -> None:
    folder, kind, given = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    taken = KINDS[kind](Workload(**given), folder, os.cpu_count() or 1)
    (folder / f"{kind}.json").write_text(json.dumps({"build_s": round(taken, 2)}))


if __name__ == "__main__":
    main()
