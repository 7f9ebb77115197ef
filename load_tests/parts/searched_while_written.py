"""Searches of a shard while its items are written: `python -m load_tests.parts.searched_while_written`.

One thread searches, as a replica's does: one request at a time, at a fixed rate, each for the neighbours of another
taste. A second one writes as the log is applied: 128 items at a time, without a pause between them. A third one links
the rows that are fresh, as the replica does.

quiet      nothing is written
new        items come
rewritten  items that are there come again, each with another text
deleted    items go

p99 against that of quiet is what users see of a bulk import. Only meaningful with nothing else running.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT
from load_tests.comparison.workload import Workload
from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Item, Rows
from recsys.index.base import engine
from recsys.serving.held_version import LINKED
from recsys.serving.log_applier import TOGETHER
from recsys.shard.fresh_rows import MOST
from recsys.shard.item_table import ItemTable
from recsys.shard.probes import nearest_query
from recsys.shard.recall import CANDIDATES
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher

_TURN_S = 0.001
"""As in `deployments/shard.py`."""


def main() -> None:
    args = _arguments().parse_args()
    sys.setswitchinterval(_TURN_S)
    work = Workload(items=args.items, dimension=args.dimension, users=args.users)
    shard, rng = make(work, args.engine, args.ef), np.random.default_rng(5)
    rows = []
    for name, write in (("quiet", None), *writes(shard, work.vectors, rng).items()):
        rows.append(measure(shard, work.tastes, name, write, args))
        rows[-1]["p99_vs_quiet"] = round(rows[-1]["p99_ms"] / rows[0]["p99_ms"], 2)
    show(rows, args)
    results.write({"machine": results.machine(), "engine": args.engine, "rows": rows}, args.out)
    print(f"written: {args.out}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--items", type=int, default=40_000)
    add("--dimension", type=int, default=384)
    add("--engine", default="hnsw")
    add("--ef", type=int, default=64, help="ef_search of the shard")
    add("--users", type=int, default=500, help="different tastes")
    add("--rate", type=float, default=200.0, help="searches/s")
    add("--seconds", type=float, default=20.0, help="of each row")
    add("--out", type=Path, default=ROOT / "var" / "searched-while-written.json")
    return parser


def make(work: Workload, name: str, ef: int) -> Shard:
    table = ItemTable({}, work.vectors.shape[1], Sketcher.fit(work.vectors))
    table.adopt([Item(f"i{n}", f"Item number {n}") for n in range(work.items)], work.vectors)
    spec = IndexSpec.of(name)
    index = engine(spec).create(spec, work.vectors.shape[1])
    index.add(np.arange(work.items), work.vectors, 2)
    shard = Shard("bench", table, index)
    shard.tune(ShardTuning(ef_search=ef))
    return shard


def writes(shard: Shard, vectors: Floats, rng: np.random.Generator) -> dict[str, Callable[[int], None]]:
    """Name -> what writes the next piece, given its number."""
    order = rng.permutation(len(vectors))

    def piece(number: int) -> Rows:
        return order[np.arange(number * TOGETHER, (number + 1) * TOGETHER) % len(order)]

    def other(rows: Rows) -> Floats:
        """Vectors of other texts of the same kind."""
        noise = rng.standard_normal((len(rows), vectors.shape[1]), np.float32) / np.float32(np.sqrt(vectors.shape[1]))
        near = vectors[rows] + np.float32(0.5) * noise
        return near / np.linalg.norm(near, axis=1, keepdims=True)

    def new(number: int) -> None:
        rows = piece(number)
        items = [Item(f"n{number}-{n}", f"New item {number}-{n}") for n in range(len(rows))]
        shard.upsert(items, other(rows))

    def rewritten(number: int) -> None:
        rows = piece(number)
        shard.upsert([Item(f"i{row}", f"Item {row}, text {number}") for row in rows.tolist()], other(rows))

    def deleted(number: int) -> None:
        shard.delete([f"i{row}" for row in piece(number)[:16].tolist()])
        time.sleep(0.02)  # deletions are fast: a catalogue would be gone within the row

    return {"new": new, "rewritten": rewritten, "deleted": deleted}


def measure(
    shard: Shard, tastes: Floats, name: str, write: Callable[[int], None] | None, args: argparse.Namespace
) -> dict[str, Any]:
    over, pieces, rows = threading.Event(), 0, len(shard.items)

    def writer() -> None:
        nonlocal pieces
        while write is not None and not over.is_set():
            if shard.fresh.waiting + TOGETHER > MOST:
                shard.fresh.link(TOGETHER)
            write(pieces)
            pieces += 1

    def linker() -> None:
        while not over.is_set():
            if shard.fresh.waiting:
                shard.fresh.link(LINKED, paced=True)
            else:
                time.sleep(0.005)

    threads = [threading.Thread(target=writer), threading.Thread(target=linker)]
    for thread in threads:
        thread.start()
    try:
        taken = np.array(list(_searches(shard, tastes, args.rate, args.seconds)))
    finally:
        over.set()
        for thread in threads:
            thread.join()
        shard.fresh.link()
    p50, p95, p99, most = (np.quantile(taken, (0.5, 0.95, 0.99, 1.0)) * 1e3).round(3).tolist()
    return {
        "row": name,
        "searches": len(taken),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "longest_ms": most,
        "pieces": pieces,
        "upserts_s": round((len(shard.items) - rows) / args.seconds),
    }


def _searches(shard: Shard, tastes: Floats, rate: float, seconds: float) -> Iterator[float]:
    """Seconds that each took, without the wait for its turn."""
    start = time.perf_counter()
    for n in range(int(rate * seconds)):
        time.sleep(max(start + n / rate - time.perf_counter(), 0.0))
        query = nearest_query("bench", tastes[n % len(tastes)][None], CANDIDATES)
        begun = time.perf_counter()
        search(shard, query)
        yield time.perf_counter() - begun


def show(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    table = Table(
        "row", "searches", "p50 ms", "p95", "p99", "longest", "p99 / quiet", "upserts/s",
        title=f"{args.items:,} items of {args.dimension} dimensions, {args.engine}, ef {args.ef}, {args.rate:g}/s",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["row"], f"{row['searches']:,}",
            *(f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "longest_ms", "p99_vs_quiet")),
            f"{row['upserts_s']:,}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
