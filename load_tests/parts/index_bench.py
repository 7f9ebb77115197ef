"""The index engines alone: memory, build, walk and recall, side by side in one process.

    python -m load_tests.parts.index_bench                      # 10,000 made vectors of 384 dimensions, under a minute
    python -m load_tests.parts.index_bench --items 40000       # as many as the comparison has
    python -m load_tests.parts.index_bench --vectors FILE.npy  # (n, d) float32 unit vectors, say of a version

Times are CPU time of the one thread that walks, in rounds that take the engines in turn, the best round counting: their
ratio holds on a machine that does other work too. Recall counts the ten exactly nearest; `@50` is as served: 50 are
asked for and the best ten of them by the exact vectors kept. Made vectors are asked for with the tastes of the
comparison's users, those of a file with means of one to five of its items.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from load_tests.comparison.workload import Workload
from recsys.config.index import IndexSpec, engine_names
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats
from recsys.index.base import VectorIndex, engine
from recsys.shard.probes import sample_queries
from recsys.shard.recall import CANDIDATES

EF = (64, 128)
ROUNDS = 5


def main() -> None:
    args = _arguments()
    if args.vectors:
        vectors = np.load(args.vectors)
        queries = sample_queries(vectors, args.queries)
    else:
        work = Workload(items=args.items, shards=1, users=args.queries)
        vectors, queries = work.vectors, work.tastes
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    table = Table(
        "engine",
        "bytes/item",
        "build s",
        *(f"µs at {ef}" for ef in EF),
        *(f"@10 at {ef}" for ef in EF),
        *(f"@{CANDIDATES} at {ef}" for ef in EF),
        title=f"{len(vectors):,} vectors of {vectors.shape[1]} dimensions; {len(queries)} queries: time, recall at ef",
    )
    built = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.engines or [name for name in engine_names() if not IndexSpec.of(name).needs]:
            path, spec = Path(folder) / name.replace(":", "-"), IndexSpec.of(name)
            index = engine(spec).create(spec, vectors.shape[1])
            seconds = _cpu(partial(index.add, np.arange(len(vectors)), vectors))
            index.save(path)
            built[name] = (index, seconds, _resident(path, spec, vectors.shape[1]) / len(vectors))
    indexes = {name: index for name, (index, _, _) in built.items()}
    walks = {ef: _walks(indexes, queries, ef) for ef in EF}
    for name, (index, seconds, size) in built.items():
        recalls = [_recall(index, queries, truth, ef, k, vectors) for k in (10, CANDIDATES) for ef in EF]
        table.add_row(
            name,
            f"{size:,.0f}",
            f"{seconds:.1f}",
            *(f"{walks[ef][name]:.0f}" for ef in EF),
            *(f"{each:.4f}" for each in recalls),
        )
    Console(width=110).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--vectors", type=Path, help=".npy file instead of made vectors")
    parser.add_argument("--engines", nargs="*", help="as hnsw faiss:IVF256,Flat; all that need no extra")
    return parser.parse_args()


def _cpu(call: Callable[[], object]) -> float:
    """Seconds of this thread."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def _search(index: VectorIndex, batches: Sequence[Floats]) -> None:
    for batch in batches:
        index.search(batch, CANDIDATES)


def _walks(indexes: dict[str, VectorIndex], queries: Floats, ef: int) -> dict[str, float]:
    """Microseconds a query, in batches of 32 as requests travel."""
    best = dict.fromkeys(indexes, float("inf"))
    batches = [queries[start : start + 32] for start in range(0, len(queries), 32)]
    for _ in range(ROUNDS):
        for name, index in indexes.items():
            index.tune(ShardTuning(ef_search=ef))
            taken = _cpu(partial(_search, index, batches))
            best[name] = min(best[name], taken / len(queries) * 1e6)
    return best


def _recall(index: VectorIndex, queries: Floats, truth: np.ndarray, ef: int, k: int, vectors: Floats) -> float:
    index.tune(ShardTuning(ef_search=ef))
    neighbours, _ = index.search(queries, k)
    exact = np.einsum("mkd,md->mk", vectors[neighbours], queries)
    kept = np.take_along_axis(neighbours, np.argsort(-exact, axis=1)[:, :10], axis=1)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, kept, strict=True)]))


def _resident(path: Path, spec: IndexSpec, dimension: int) -> int:
    """Bytes of memory that a fresh process holds more after loading the index than before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_load, (path, spec, dimension))


def _load(path: Path, spec: IndexSpec, dimension: int) -> int:
    empty = engine(spec).create(spec, dimension)  # imports the engine
    before = psutil.Process().memory_full_info().uss
    index = engine(spec).load(path, spec, dimension)
    grown = psutil.Process().memory_full_info().uss - before
    del empty, index
    return grown


if __name__ == "__main__":
    main()
