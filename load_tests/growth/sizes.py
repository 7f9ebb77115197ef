"""A million items and more: what they cost to build, to hold, to start with and to serve.

    python -m load_tests.growth.sizes --sizes 1000000,3000000,10000000
    python -m load_tests.growth.sizes --sizes 10000000 --build-only --threads 1

The items are made up: unit vectors in clusters of 5,000, see `comparison/workload.py`. Each size is built once, into a
folder that its settings name, and kept there; `--build-only` leaves the measurement for a quiet hour. The hand-written
application is measured up to `--app-up-to` items: its processes each hold a float32 index. All goes into the file of
`sweep.py`, as rows of the axis `large`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results
from load_tests.comparison.answers import ask, overlap
from load_tests.comparison.bench import ROOT
from load_tests.comparison.contenders import URL, contenders
from load_tests.comparison.profiling import Foreign, cpu_seconds
from load_tests.comparison.wrk import drive
from load_tests.growth.large import ASKED, FEWEST_CLUSTERS, ITEMS_OF_A_CLUSTER, Large, LargeBench
from load_tests.growth.sweep import memory_of

AXIS = "large"
CLIENTS = (1, 32)
SIZES = "1000000,3000000,10000000"
_STEPS = ("rows", "index", "publish")
Row = dict[str, Any]


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    rows: list[Row] = []
    for size in args.sizes:
        settings = {"ef": args.ef, "m": args.m, "ef_construction": args.ef_construction, "originals": args.originals}
        work = Large(items=size, clusters=max(FEWEST_CLUSTERS, size // ITEMS_OF_A_CLUSTER), **settings)
        work = replace(work, folder=str((args.out / "large" / work.key).resolve()))
        rows += measure(work, args)
        keep(rows, args.out / "scaling.json")
    if rows:
        show(rows)
        print(f"written: {args.out / 'scaling.json'}")


def measure(work: Large, args: argparse.Namespace) -> list[Row]:
    """A row for each contender and number of clients; none with `--build-only`."""
    bench = LargeBench(work, args.out / "large", args.config)
    built = bench.build(args.threads)
    app = work.items <= args.app_up_to
    if app:
        bench.prepare_app()
    if args.build_only:
        return []
    opened = open_shard(work)
    print(f"{work.items:,} items: {opened}", flush=True)
    rows: list[Row] = []
    with bench:
        for contender in contenders(bench, ["recsys", *(["monolith-2"] if app else [])]):
            start = time.perf_counter()
            try:
                contender.start()
                up_s = time.perf_counter() - start
                if contender.name == "recsys":  # the first start gave it the users' events
                    contender.stop()
                    start = time.perf_counter()
                    contender.start()
                    up_s = _first_answer(contender.target, start)
                recall = overlap(ask(URL, contender.target, ASKED), work.exact(ASKED))
                drive(URL, contender.target, work.users, 32, 3)
                for clients in CLIENTS:
                    before = sum(cpu_seconds(contender.processes()).values())
                    with Foreign(contender.processes()) as foreign:
                        run = drive(URL, contender.target, work.users, clients, args.seconds)
                    taken = sum(cpu_seconds(contender.processes()).values()) - before
                    row = {"axis": AXIS, "value": work.items, "contender": contender.name, **asdict(run)}
                    row |= {"recall_at_10": round(recall, 4), "up_s": round(up_s, 1)}
                    row |= {"cpu_us": round(taken / max(run.rps * args.seconds, 1) * 1e6, 1)}
                    rows.append({**row, "others_cores": round(foreign.cores, 2)})
                    print(f"  {rows[-1]}", flush=True)
                used = {**memory_of(contender, "", "memory"), **memory_of(contender, "shard-", "shards")}
                rows = [{**row, **used} if row["contender"] == contender.name else row for row in rows]
            finally:
                contender.stop()
    about = {"built": built, "opened": opened, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    step = {"axis": AXIS, "work": {name: value for name, value in asdict(work).items() if name != "folder"}}
    return [{**row, **about, "step": step} for row in rows]


def open_shard(work: Large) -> dict[str, float]:
    """See `open_large.py`."""
    command = [sys.executable, "-m", "load_tests.growth.open_large", f"{work.folder}/data", str(work.ef)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _first_answer(target: str, start: float) -> float:
    """Seconds until a user's request is answered in full."""
    while True:
        try:
            answer = httpx.get(URL + target.replace("USER", "1"), trust_env=False, timeout=5)
            if answer.is_success and len(answer.json()["items"]) == 10:
                return time.perf_counter() - start
        except httpx.HTTPError:
            pass
        time.sleep(0.05)


def keep(rows: list[Row], file: Path) -> None:
    """Put them into the file, in the place of earlier ones of the same work and contender."""
    known = json.loads(file.read_text())["rows"] if file.exists() else []
    mine = [(row["step"], row["contender"]) for row in json.loads(json.dumps(rows))]
    others = [row for row in known if (row["step"], row["contender"]) not in mine]
    results.write({"machine": results.machine(), "rows": [*others, *rows]}, file)


def show(rows: list[Row]) -> None:
    console = Console(width=160)
    served = Table("items", "contender", "clients", "requests/s", "p50 ms", "p99 ms", "CPU µs", "recall@10",
                   "start s", "all own MiB", "… with files", "shard own", "… with files", "others' cores")  # fmt: skip
    for row in rows:
        cells = (row["rps"], row["p50_ms"], row["p99_ms"], row["cpu_us"], row["recall_at_10"], row["up_s"],
                 row["memory_own_mib"], row["memory_mib"], row["shards_own_mib"], row["shards_mib"],
                 row["others_cores"])  # fmt: skip
        served.add_row(f"{row['value']:,}", row["contender"], str(row["clients"]), *(f"{cell:,.4g}" for cell in cells))
    console.print(served)
    made = Table("items", *(f"{step}: s, CPU s, own MiB" for step in _STEPS), "bytes an item: index, all",
                 "open s", "first answer s", "own MiB", "mapped", "warm: own", "mapped", "search µs")  # fmt: skip
    for row in {row["value"]: row for row in rows}.values():
        built, opened, items = row["built"], row["opened"], row["value"]
        steps = [f"{built[step]['s']:,.0f}, {built[step]['cpu_s']:,.0f}, {built[step]['own_mib']:,}" for step in _STEPS]
        sizes = f"{built['bytes']['index.bin'] / items:,.0f}, {sum(built['bytes'].values()) / items:,.0f}"
        names = ("open_s", "answer_s", "own_mib", "mapped_mib", "warm_own_mib", "warm_mapped_mib", "search_us")
        made.add_row(f"{items:,}", *steps, sizes, *(f"{opened[name]:,.4g}" for name in names))
    console.print(made)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=SIZES)
    parser.add_argument("--ef", type=int, default=128)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=100)
    parser.add_argument("--originals", choices=["float32", "float16", "none"], default="float16")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the build")
    parser.add_argument("--app-up-to", type=int, default=1_000_000, help="items")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("var"))
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "benchmark.yaml")
    args = parser.parse_args(argv)
    args.out = args.out.resolve()
    return args


if __name__ == "__main__":
    main()
