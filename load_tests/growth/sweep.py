"""How cost grows: one of items, shards, candidates or clients varies, the rest stays.

Every point is written as soon as it is measured, and one that the file has is not measured again: a run that was
interrupted goes on where it stopped. Delete the file to begin anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from load_tests.comparison import results
from load_tests.comparison.answers import ask, overlap
from load_tests.comparison.bench import Bench
from load_tests.comparison.contenders import URL, Contender, contenders
from load_tests.comparison.profiling import Foreign, cpu_seconds
from load_tests.comparison.workload import Workload
from load_tests.comparison.wrk import drive, middle
from load_tests.growth import sweep_report

Row = dict[str, Any]
CLIENTS = [1, 32]
"""Where something else than their number varies."""
SECONDS, REPEATS = 4, 1
_ASKED = 100
"""Users whose answers are held against exact search."""
_BESIDE_UP_TO = 100_000
"""Items up to which the hand-written application is measured as well: its float graph is the longest build of all."""


@dataclass(frozen=True)
class Axis:
    values: list[int]
    beside: bool
    """Whether the hand-written application is measured as well. It has no shards."""
    dimension: int = Workload.dimension


AXES = {
    "clients": Axis([1, 2, 4, 8, 16, 32, 64, 128, 256], beside=True),
    "candidates": Axis([10, 50, 200, 500], beside=True),
    "shards": Axis([1, 2, 4, 8], beside=False),
    # A million items of 384 dimensions and their graphs would not fit a small machine.
    # More of them: `sizes.py`.
    "items": Axis([10_000, 40_000, 100_000, 300_000], beside=True, dimension=128),
}


@dataclass(frozen=True)
class Step:
    """What one start of a contender measures."""

    axis: str
    contender: str
    work: Workload
    clients: tuple[int, ...]
    seconds: int
    repeats: int

    def measured(self, rows: list[Row]) -> bool:
        told = json.loads(json.dumps(asdict(self)))
        return any(row["step"] == told for row in rows)


def sweep(args: argparse.Namespace) -> None:
    """Exit code 1 when a point could not be measured; the others are."""
    file, failed = args.out / "scaling.json", []
    rows: list[Row] = json.loads(file.read_text())["rows"] if file.exists() else []
    for axis in AXES if args.sweep == "all" else [args.sweep]:
        for step in steps(axis, args):
            title = f"{axis} {getattr(step.work, axis, '')}: {step.contender}"
            if step.measured(rows):
                print(f"{title} is in {file}", flush=True)
                continue
            print(title, flush=True)
            try:
                rows += measure(step, args)
            except (SystemExit, OSError, subprocess.SubprocessError, httpx.HTTPError) as error:
                failed.append(f"{title}: {error}")
                print(f"  failed: {error}", flush=True)
            results.write({"machine": results.machine(), "rows": rows}, file)
        mine = [row for row in rows if row["axis"] == axis]
        sweep_report.show(axis, mine)
        sweep_report.plot(axis, mine, args.plots / f"scaling-{axis}.png")
    file.with_suffix(".md").write_text(sweep_report.markdown(rows))
    print(f"written: {file}, {file.with_suffix('.md')}, {args.plots}/scaling-*.png")
    if failed:
        raise SystemExit("\n".join(["not measured; the same command tries again:", *failed]))


def steps(axis: str, args: argparse.Namespace) -> list[Step]:
    spec, values = AXES[axis], args.values or AXES[axis].values
    chosen = args.only or ["recsys", *(["monolith-2"] if spec.beside else [])]
    base = Workload(args.items, args.dimension, args.shards, args.users, args.candidates, args.ef)
    if args.dimension == Workload.dimension:
        base = replace(base, dimension=spec.dimension)
    works = [base] if axis == "clients" else [replace(base, **{axis: value}) for value in values]
    clients = values if axis == "clients" else args.clients or CLIENTS
    return [
        # A graph walk that keeps fewer candidates than it is to return finds fewer.
        Step(axis, name, replace(work, ef=max(work.ef, work.candidates)), tuple(clients), seconds, repeats)
        for seconds, repeats in [(args.seconds or SECONDS, args.repeats or REPEATS)]
        for work in works
        for name in chosen
        if args.only or name == "recsys" or work.items <= _BESIDE_UP_TO
    ]


def measure(step: Step, args: argparse.Namespace) -> list[Row]:
    """A row for each number of clients."""
    rows: list[Row] = []
    with Bench(step.work, args.out / "compare", args.config) as bench:
        [contender] = [c for c in contenders(bench, [step.contender]) if c.name == step.contender]
        built = bench.prepare(contender.needs, again=args.rebuild) if contender.needs else {}
        try:
            contender.start()
            recall = _recall(contender, step.work) if contender.needs else None
            drive(URL, contender.target, step.work.users, 32, 2)
            for clients in step.clients:
                before = sum(cpu_seconds(contender.processes()).values())
                with Foreign(contender.processes()) as foreign:
                    runs = [
                        drive(URL, contender.target, step.work.users, clients, step.seconds)
                        for _ in range(step.repeats)
                    ]
                taken = sum(cpu_seconds(contender.processes()).values()) - before
                answers = sum(run.rps for run in runs) * step.seconds
                row = {"axis": step.axis, "value": getattr(step.work, step.axis, clients), "contender": step.contender}
                row |= {**asdict(middle(runs)), "recall_at_10": recall, **built}
                row["cpu_us"] = round(taken / answers * 1e6, 1) if answers else None
                rows.append({**row, "others_cores": round(foreign.cores, 2)})
                print(f"  {rows[-1]}", flush=True)
            used = {**memory_of(contender, "", "memory"), **memory_of(contender, "shard-", "shards")}
        finally:
            contender.stop()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [{**row, **used, "at": now, "step": asdict(step)} for row in rows]


def _recall(contender: Contender, work: Workload) -> float:
    users = min(_ASKED, work.users)
    return round(overlap(ask(URL, contender.target, users), work.exact(users)), 4)


def memory_of(contender: Contender, part: str, name: str) -> Row:
    """MiB of the processes with `part` in their title, what several share counted once; and of it what is their own.

    The rest is files that are mapped, the vectors among them, which the kernel may drop and read again.
    """
    whole = own = 0
    for process in contender.processes():
        try:
            if part not in " ".join(process.cmdline()):
                continue
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (psutil.Error, OSError):  # ended meanwhile
            continue
        kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Pss")}
        whole, own = whole + kib["Pss"], own + kib["Pss_Anon"]
    return {f"{name}_mib": round(whole / 1024, 1), f"{name}_own_mib": round(own / 1024, 1)}
