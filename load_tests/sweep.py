"""How cost grows: one of items, shards, candidates or clients varies, the rest stays."""

from __future__ import annotations

import argparse
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from load_tests import results
from load_tests.bench import Bench
from load_tests.contenders import URL, Contender, contenders
from load_tests.workload import Workload
from load_tests.wrk import drive, middle

VALUES = {
    "items": [10_000, 40_000, 100_000, 300_000, 1_000_000],
    "shards": [1, 2, 4, 8],
    "candidates": [10, 50, 100, 200, 500],
    "clients": [1, 2, 4, 8, 16, 32, 64, 128, 256],
}
SWEPT_DIMENSION = 128
"""Of the vectors while items vary: a million of 384 dimensions and their graphs would not fit a small machine."""
Row = dict[str, Any]


def sweep(args: argparse.Namespace) -> None:
    axis, values = args.sweep, args.values or VALUES[args.sweep]
    rows: list[Row] = []
    for value in values:
        given = copy(args)
        setattr(given, axis, [value] if axis == "clients" else value)
        if axis == "items" and args.dimension == Workload().dimension:
            given.dimension = SWEPT_DIMENSION
        rows += _measure(given, value)
    out = args.out / f"sweep-{axis}"
    results.write({"machine": results.machine(), "axis": axis, "rows": rows}, out.with_suffix(".json"))
    _plot(axis, rows, out.with_suffix(".png"))
    _show(axis, rows)
    print(f"written: {out}.json, {out}.png")


def _measure(args: argparse.Namespace, value: int) -> list[Row]:
    work = Workload(args.items, args.dimension, args.shards, args.users, args.candidates, max(args.ef, args.candidates))
    rows = []
    with Bench(work, args.out / "compare", args.config) as bench:
        for contender in contenders(bench, args.only or ["recsys", "monolith-1"]):
            print(f"{args.sweep} {value}: {contender.name}", flush=True)
            build_s = bench.prepare(contender.needs, again=args.rebuild) if contender.needs else 0.0
            try:
                contender.start()
                drive(URL, contender.target, work.users, 32, 2)
                for clients in args.clients:
                    runs = [
                        drive(URL, contender.target, work.users, clients, args.seconds) for _ in range(args.repeats)
                    ]
                    memory = {"memory_mib": _mib(contender, ""), "shards_mib": _mib(contender, "shard-")}
                    row = {"value": value, "contender": contender.name, **asdict(middle(runs)), "build_s": build_s}
                    rows.append({**row, **memory})
                    print(f"  {rows[-1]}", flush=True)
            finally:
                contender.stop()
    return rows


def _mib(contender: Contender, part: str) -> float:
    """Memory of the processes with `part` in their title; what several share counts once."""
    total = 0
    for process in contender.processes():
        try:
            if part in " ".join(process.cmdline()):
                total += process.memory_full_info().pss
        except psutil.Error:  # ended meanwhile
            continue
    return round(total / 2**20, 1)


def _show(axis: str, rows: list[Row]) -> None:
    table = Table(axis, *list(rows[0])[1:])
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int | float) else v for v in row.values()))
    Console(width=140).print(table)


def _plot(axis: str, rows: list[Row], file: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    panels = {"rps": "requests/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms", "build_s": "build, s", "memory_mib": "MiB"}
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4), layout="constrained")
    lines = dict.fromkeys((row["contender"], "" if axis == "clients" else row["clients"]) for row in rows)
    for panel, (column, label) in zip(axes, panels.items(), strict=True):
        for name, clients in lines:
            mine = [r for r in rows if r["contender"] == name and clients in ("", r["clients"])]
            shown = f"{name}, {clients} clients" if clients else name
            panel.plot([r["value"] for r in mine], [r[column] for r in mine], marker="o", label=shown)
        panel.set(xlabel=axis, ylabel=label, xscale="log")
        panel.set_ylim(bottom=0)
        panel.set_xticks(ticks := sorted({row["value"] for row in rows}), map(str, ticks))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)
