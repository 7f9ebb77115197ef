"""Memory of a shard's whole process by what it keeps of the vectors, each in a process of its own.

    python -m load_tests.parts.shard_memory                       # 100,000 made vectors of 384 dimensions
    python -m load_tests.parts.shard_memory --items 1000000       # some 40 minutes and 8 GiB

A process loads a shard as a replica does, reads all that it keeps of the vectors, and answers the tastes of the
comparison's users in batches of 32. Its memory is then its own and its part of what it shares (PSS); recall@10 is that
of the ten best of its answers, by the exact vectors. CPU time is that of one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from load_tests.ann.datasets import exact
from load_tests.comparison.workload import Workload
from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.shard.candidates import QUERY
from recsys.shard.probes import nearest_query
from recsys.shard.recall import CANDIDATES
from recsys.shard.search import search
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import read_shard, write_index, write_rows, write_vectors
from recsys.state.item_log import START_OF_LOG

SETTINGS = ("hnsw/float32", "hnsw/none", "hnsw_int8/float32", "hnsw_int8/float16", "hnsw_int8/none")
"""Engine, and what the shard keeps of the vectors beside the index."""
K, _BATCH, _BLOCK = 10, 32, 1 << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--ef", type=int, default=128)
    parser.add_argument("--settings", nargs="*", default=SETTINGS)
    parser.add_argument("--folder", type=Path, help="of the shards, kept; none: a temporary one")
    parser.add_argument("--out", type=Path, default=Path("var/shard-memory.json"))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        print(json.dumps(_serve(args.folder, args.serve, args.ef)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        _prepare(folder, Workload(items=args.items, dimension=args.dimension, users=args.queries), args.settings)
        sizes = {setting: _measured(folder, setting, args.ef) for setting in args.settings}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"items": args.items, "dimension": args.dimension, "settings": sizes}, indent=2))
    _show(sizes, f"{args.items:,} items of {args.dimension} dimensions, ef {args.ef}", args.items)


def _prepare(folder: Path, work: Workload, settings: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "exact.npy", work.vectors)
    np.save(folder / "queries.npy", work.tastes)
    np.save(folder / "truth.npy", exact(work.vectors, work.tastes))
    items = [Item(str(row), f"Item number {row}") for row in range(work.items)]
    for engine in dict.fromkeys(setting.partition("/")[0] for setting in settings):
        path = folder / engine
        if not (path / "index.nodes").exists():
            print(f"indexing with {engine}", flush=True)
            write_rows(path, items, work.vectors, Sketcher.fit(work.vectors))
            write_index(path, IndexSpec.of(engine), 2)


def _measured(folder: Path, setting: str, ef: int) -> dict[str, Any]:
    engine, _, originals = setting.partition("/")
    kept = IndexSpec.of(engine, originals=originals).originals
    write_vectors(folder / engine, np.load(folder / "exact.npy"), kept)
    command = [sys.executable, "-m", "load_tests.parts.shard_memory", f"--serve={setting}", f"--folder={folder}"]
    done = subprocess.run([*command, f"--ef={ef}"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _serve(folder: Path, setting: str, ef: int) -> dict[str, Any]:
    engine, _, originals = setting.partition("/")
    bare = psutil.Process().memory_full_info().pss
    shard = read_shard(folder / engine, "memory", IndexSpec.of(engine, originals=originals), {}, START_OF_LOG)
    shard.tune(ShardTuning(ef_search=ef))
    for start in range(0, len(shard.items), _BLOCK):
        shard.items.vectors(np.arange(start, min(start + _BLOCK, len(shard.items))))
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    batches = [nearest_query("memory", queries[i : i + _BATCH], CANDIDATES) for i in range(0, len(queries), _BATCH)]
    best = float("inf")
    for _ in range(3):
        start_s = time.process_time()
        answers = [search(shard, batch) for batch in batches]
        best = min(best, time.process_time() - start_s)
    hits, number = 0, 0
    for answer in answers:
        ids = answer.ids.strings()
        for start, end in zip(answer.offsets[:-1].tolist(), answer.offsets[1:].tolist(), strict=True):
            top = start + np.argsort(-answer.likeness[start:end, QUERY], kind="stable")[:K]
            hits += len({int(ids[at]) for at in top.tolist()} & set(truth[number].tolist()))
            number += 1
    memory = psutil.Process().memory_full_info()
    return {
        "pss_mib": round(memory.pss / 2**20, 1),
        "private_mib": round(memory.uss / 2**20, 1),
        "bare_mib": round(bare / 2**20, 1),
        "recall": round(hits / truth.size, 4),
        "cpu_us": round(best / len(queries) * 1e6, 1),
    }


def _show(sizes: dict[str, Any], title: str, items: int) -> None:
    first = next(iter(sizes.values()))["pss_mib"]
    table = Table(
        "engine/originals",
        "process MiB",
        "of the first",
        "private MiB",
        "bytes/item",
        "recall@10",
        "CPU µs",
        title=title,
    )
    for setting, row in sizes.items():
        grown = (row["pss_mib"] - row["bare_mib"]) * 2**20 / items
        table.add_row(
            setting, f"{row['pss_mib']:,.0f}", f"{row['pss_mib'] / first:.0%}", f"{row['private_mib']:,.0f}",
            f"{grown:,.0f}", f"{row['recall']:.4f}", f"{row['cpu_us']:.0f}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
