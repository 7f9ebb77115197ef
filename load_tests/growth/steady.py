"""The platform at 70 % of its peak with the mix of a shop, for half an hour: is the last minute like the second?

    python -m load_tests.growth.steady --minutes 30

The peak is measured first, with the same mix (`mix.lua`) and 32 connections that ask as fast as they are answered. Then
as many connections wait between their requests. It prints p50, p99 and p99.9 over all of it, the memory of every
process after the first minute and at the end, and which processes ended or began meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.contenders import URL, Contender, contenders
from load_tests.comparison.workload import Workload

_SCRIPT = Path(__file__).with_name("mix.lua")
_CLIENTS = 32
_SHARE = 0.7
"""Of the peak."""
_WARM_S = 60
"""After which the first memory is taken: caches fill, and the heap finds its size."""
_PEAK_S = 10
_LEAST_MIB = 20.0
"""Smaller processes are left out of the table."""


def main() -> None:
    args = _arguments()
    work = Workload(items=args.items, dimension=args.dimension)
    with Bench(work, args.out / "compare", args.config) as bench:
        bench.prepare("platform")
        [contender] = contenders(bench, ["recsys"])
        try:
            contender.start()
            _drive(work, 3, 0.0)
            peak = _drive(work, _PEAK_S, 0.0)
            print(f"peak with the mix: {peak}", flush=True)
            told = {"peak": peak, **_steady(contender, work, args.minutes, _SHARE * peak["rps"])}
        finally:
            contender.stop()
    results.write({"machine": results.machine(), "minutes": args.minutes, **told}, args.out / "steady.json")
    show(told)
    print(f"written: {args.out / 'steady.json'}")


def _steady(contender: Contender, work: Workload, minutes: float, rate: float) -> dict[str, Any]:
    """The load, and what became of the processes under it."""
    seconds = int(minutes * 60)
    # A connection asks, waits for the answer and then for the pause: at the same answers, so many a second.
    pause_ms = 1000 * _CLIENTS / rate - _drive(work, 2, 1000 * _CLIENTS / rate)["p50_ms"]
    with _wrk(work, seconds, max(pause_ms, 1.0)) as load:
        start = time.monotonic()
        _sleep_until(load, start + min(_WARM_S, seconds / 4))
        first = memory(contender)
        _sleep_until(load, start + seconds - 5)
        last = memory(contender)
        said = _said(load, seconds)
    same = first.keys() & last.keys()
    before, after = (sum(taken[pid][1] for pid in same) for taken in (first, last))
    return {
        "wanted_rps": round(rate, 1),
        "steady": said,
        "p999_over_p50": round(said["p999_ms"] / said["p50_ms"], 2),
        "memory_mib": [round(before, 1), round(after, 1)],
        "memory_grew": round(after / before - 1, 4),
        "ended": sorted(first[pid][0] for pid in first.keys() - last.keys()),
        "began": sorted(last[pid][0] for pid in last.keys() - first.keys()),
        "processes": [
            {"pid": pid, "title": last[pid][0], "mib": [round(first[pid][1], 1), round(last[pid][1], 1)]}
            for pid in sorted(same, key=lambda pid: -last[pid][1])
        ],
    }


def memory(contender: Contender) -> dict[int, tuple[str, float]]:
    """By pid, each process's title and the MiB that are its own."""
    taken = {}
    for process in contender.processes():
        try:
            title = " ".join(process.cmdline())[:60] or process.name()
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (psutil.Error, OSError):  # ended meanwhile
            continue
        kib = next((int(line.split()[1]) for line in lines if line.startswith("Pss_Anon")), 0)
        taken[process.pid] = title, kib / 1024
    return taken


def _wrk(work: Workload, seconds: int, pause_ms: float) -> subprocess.Popen[str]:
    command = ["wrk", "-t1", f"-c{_CLIENTS}", f"-d{seconds}s", "--timeout=2s", "-s", str(_SCRIPT), URL, "--"]
    command += [str(work.users), str(work.items), f"{pause_ms:.3f}", uuid.uuid4().hex[:12]]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def _drive(work: Workload, seconds: int, pause_ms: float) -> dict[str, Any]:
    with _wrk(work, seconds, pause_ms) as load:
        return _said(load, seconds)


def _said(load: subprocess.Popen[str], seconds: int) -> dict[str, Any]:
    output, _ = load.communicate(timeout=seconds + 60)
    line = next((line for line in output.splitlines() if line.startswith("JSON ")), None)
    if line is None:
        raise SystemExit(f"wrk failed: {output}")
    said: dict[str, Any] = json.loads(line.removeprefix("JSON "))
    return said


def _sleep_until(load: subprocess.Popen[str], moment: float) -> None:
    while time.monotonic() < moment:
        if load.poll() is not None:
            raise SystemExit("wrk ended before its time")
        time.sleep(min(1.0, max(moment - time.monotonic(), 0.01)))


def show(told: dict[str, Any]) -> None:
    console, said = Console(width=120), told["steady"]
    table = Table("process", "MiB of its own, after a minute", "at the end", "grew")
    for process in told["processes"]:
        first, last = process["mib"]
        if last >= _LEAST_MIB:
            table.add_row(process["title"], f"{first:,.1f}", f"{last:,.1f}", f"{last / max(first, 0.1) - 1:+.1%}")
    console.print(table)
    console.print(
        f"peak {told['peak']['rps']:,.0f} requests/s; wanted {told['wanted_rps']:,.0f}, was {said['rps']:,.0f}"
    )
    console.print(
        f"p50 {said['p50_ms']} ms, p99 {said['p99_ms']}, p99.9 {said['p999_ms']} ({told['p999_over_p50']} x p50), "
        f"longest {said['max_ms']}, errors {said['errors']}"
    )
    console.print(
        f"memory {told['memory_mib'][0]:,.0f} MiB, then {told['memory_mib'][1]:,.0f}: {told['memory_grew']:+.1%}"
    )
    console.print(f"ended: {told['ended'] or 'none'}; began: {told['began'] or 'none'}", markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--items", type=int, default=Workload.items)
    parser.add_argument("--dimension", type=int, default=Workload.dimension)
    parser.add_argument("--out", type=Path, default=Path("var"))
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "benchmark.yaml")
    args = parser.parse_args()
    args.out = args.out.resolve()
    return args


if __name__ == "__main__":
    main()
