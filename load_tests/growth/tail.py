"""The tail of a scatter-gather, by simulation from measured latencies: `python -m load_tests.growth.tail`.

An answer needs the slowest of its shards, so the rare slow call of one becomes the common case of many (Dean and
Barroso 2013, "The Tail at Scale"). One shard's latencies are measured (see `probe.py`) on a running platform, or on one
that is started for it, and drawn from at random for each of many shards: as if they were independent, which shards that
share a machine are not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.contenders import URL, contenders
from load_tests.comparison.workload import Workload
from load_tests.growth.probe import Probed, probe

Floats = npt.NDArray[np.float64]
SHARDS = (1, 2, 8, 32, 100, 300, 1000)
_DRAWS = 50_000
_AT_ONCE = 500_000
"""Calls drawn at a time, which bounds memory."""
_SEEN = 10
"""Samples that must lie beyond a percentile for it to be more than a lower bound."""


def gather(
    latencies: Floats, shards: int, deadline: float | None, hedge: float | None, seed: int = 7
) -> dict[str, Any]:
    """Percentiles of the slowest of so many calls, in milliseconds; shares of answers and of shards that are cut off.

    `deadline`: calls later than this are left out. `hedge`: a call later than this is made again at a sister replica,
    and the first of both answers counts; `calls` is how many a shard then gets for an answer. `missing`: mean share of
    shards left out, which with items spread by hash is the recall lost. `beyond`: percentiles that lie among the few
    largest samples, and may be larger than is said.
    """
    rng = np.random.default_rng(seed)
    slowest, partial, missing, again = [], 0, 0, 0
    rows = max(_AT_ONCE // shards, 1)
    for start in range(0, _DRAWS, rows):
        calls = rng.choice(latencies, (min(rows, _DRAWS - start), shards))
        if hedge is not None:
            late = calls > hedge
            again += int(np.count_nonzero(late))
            calls = np.where(late, np.minimum(calls, hedge + rng.choice(latencies, calls.shape)), calls)
        if deadline is not None:
            late = calls > deadline
            partial += int(np.count_nonzero(late.any(axis=1)))
            missing += int(np.count_nonzero(late))
            calls = np.minimum(calls, deadline)
        slowest.append(calls.max(axis=1))
    percentiles = np.percentile(np.concatenate(slowest), (50, 99, 99.9)).tolist()
    at = dict(zip(("p50_ms", "p99_ms", "p999_ms"), percentiles, strict=True))
    few = np.sort(latencies)[-min(_SEEN, len(latencies))]
    return {
        **{name: round(ms, 2) for name, ms in at.items()},
        "beyond": [name for name, ms in at.items() if ms > few],
        "partial": round(partial / _DRAWS, 5),
        "missing": round(missing / _DRAWS / shards, 7),
        "calls": round(1 + again / _DRAWS / shards, 4),
    }


def main() -> None:
    args = arguments()
    if args.samples:
        measured = json.loads(args.samples.read_text())
    else:
        probed = measure(args)
        measured = {"machine": results.machine(), "rate": args.rate, "failed": probed.failed}
        measured["latencies_ms"] = probed.latencies_ms
        results.write(measured, args.out / "tail-samples.json")
    latencies = np.array(measured["latencies_ms"])
    if len(latencies) < 100 * _SEEN:
        raise SystemExit(f"{len(latencies)} samples say nothing of a tail; give --calls and --seconds more")
    at = {q: round(float(np.percentile(latencies, q)), 3) for q in (50, 95, 99, 99.9)}
    said = ", ".join(f"p{q} {ms:.2f} ms" for q, ms in at.items())
    print(f"{len(latencies)} calls of one shard, {measured['failed']} failed: {said}, largest {latencies.max():.2f} ms")
    deadline, hedge = args.deadline or at[99.9], args.hedge or at[95]
    rows = [
        {"shards": shards, "way": way, "deadline_ms": d, "hedge_ms": h, **gather(latencies, shards, d, h)}
        for shards in SHARDS
        for way, d, h in [
            ("wait for all", None, None),
            (f"deadline {deadline:.1f} ms", deadline, None),
            (f"hedge at {hedge:.1f} ms", None, hedge),
            ("both", deadline, hedge),
        ]
    ]
    show(rows)
    result = {**measured, "latencies_ms": len(latencies), "one_shard_ms": at, "rows": rows}
    results.write(result, args.out / "tail.json")
    print(f"written: {args.out / 'tail.json'}")


def measure(args: argparse.Namespace) -> Probed:
    if args.url:
        return probe(args.url, args.target, args.users, args.rate, args.calls, args.seconds)
    work = Workload(shards=1, items=args.items, users=args.users)
    with Bench(work, args.out / "compare", args.config) as bench:
        [platform] = contenders(bench, ["recsys"])
        bench.prepare(platform.needs)
        try:
            platform.start()
            return probe(URL, platform.target, args.users, args.rate, args.calls, args.seconds)
        finally:
            platform.stop()


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "shards", "way", "p50 ms", "p99 ms", "p99.9 ms", "partial answers", "recall lost", "calls",
        title="≥: among the ten largest samples, so the true one may be larger",
    )  # fmt: skip
    for row in rows:
        times = [f"{'≥ ' * (name in row['beyond'])}{row[name]:.2f}" for name in ("p50_ms", "p99_ms", "p999_ms")]
        shares = [f"{row['partial']:.2%}", f"{row['missing']:.4%}", f"{row['calls']:.3f}"]
        table.add_row(str(row["shards"]), row["way"], *times, *shares, end_section=row["way"] == "both")
    Console(width=120).print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.growth.tail", description=__doc__)
    add = parser.add_argument
    add("--url", help="a platform that runs, with one shard; none: one is started for it")
    add("--target", default="/v1/users/USER/recommendations?k=10", help="what is asked of --url")
    add("--items", type=int, default=Workload.items, help="of the platform that is started")
    add("--users", type=int, default=Workload.users)
    add("--rate", type=float, default=200.0, help="requests a second beside the calls that are measured")
    add("--calls", type=int, default=50_000)
    add("--seconds", type=int, default=120, help="to measure for at the most")
    add("--deadline", type=float, help="milliseconds; the 99.9th percentile of one shard unless given")
    add("--hedge", type=float, help="milliseconds; the 95th percentile of one shard unless given")
    add("--samples", type=Path, help="a tail-samples.json of before, instead of measuring")
    add("--config", type=Path, default=ROOT / "configs/benchmark.yaml", help="of the platform that is started")
    add("--out", type=Path, default=ROOT / "var")
    return parser.parse_args()


if __name__ == "__main__":
    main()
