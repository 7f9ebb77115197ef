"""The platform at 70 % of its peak with the mix of a shop, for half an hour: is the last minute like the second?

    python -m load_tests.growth.steady --minutes 30

There are so many users that what they like meanwhile is little beside what they liked before, and it is of the same
taste: else the load itself would change, for walks towards a faded taste are longer. The peak is measured first, with
the same mix and 32 connections that ask as fast as they are answered. Then as many connections wait between their
requests. It prints a line for each minute, so that what happens every few minutes is seen; latencies by kind of
request; the memory of every process once caches are filled and at the end; and which processes ended or began
meanwhile. What users and items leave in Redis is told apart: it is data, which grows.

`--kinds` measures, in place of all this, what the kinds of requests cost one another (`kinds.py`), in three minutes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.contenders import URL, Contender, contenders
from load_tests.comparison.profiling import Foreign
from load_tests.comparison.workload import Workload
from load_tests.growth import kinds
from load_tests.growth.mixed_load import MIX, Latencies, Mix, SteadyLoad, write_likes

_SHARE = 0.7
"""Of the peak."""
_PEAK_S = 10
_LEAST_MIB = 20.0
"""Smaller processes are left out of the table."""

Memory = dict[int, tuple[str, float]]
"""By pid, a process's title and the MiB that are its own."""


def main() -> None:
    args = _arguments()
    work = Workload(items=args.items, dimension=args.dimension, users=args.users)
    with Bench(work, args.out / "compare", args.config) as bench:
        bench.prepare("platform")
        likes = bench.folder / "likes-to-come.txt"
        write_likes(work, likes)
        mix = Mix(URL, work, likes)
        [contender] = contenders(bench, ["recsys"])
        try:
            contender.start()
            mix.peak(3)
            top = mix.peak(_PEAK_S).summary()
            print(f"peak with the mix: {top}", flush=True)
            rate = args.rate or _SHARE * top["rps"]
            if args.kinds:
                kinds.show(kinds.measured(mix, rate))
                return
            told = {"peak": top, **_steady(contender, mix, bench.redis_url, args, rate)}
        finally:
            contender.stop()
    results.write({"machine": results.machine(), "minutes": args.minutes, **told}, args.out / "steady.json")
    show(told)
    print(f"written: {args.out / 'steady.json'}")


def _steady(contender: Contender, mix: Mix, redis_url: str, args: argparse.Namespace, rate: float) -> dict[str, Any]:
    """The load in slices, and what became of the processes under it."""
    load = SteadyLoad(mix, rate)
    load.slice(5)  # learns how long answers take
    redis = Redis.from_url(redis_url)
    slices: list[dict[str, Latencies]] = []
    told: list[dict[str, Any]] = []
    warm, first, stored = False, memory(contender), _stored(redis)
    start = time.monotonic()
    while (past := time.monotonic() - start) < args.minutes * 60 - 1:
        with Foreign(contender.processes()) as foreign:
            slices.append(load.slice(max(round(min(args.slice, args.minutes * 60 - past)), 5)))
        last, said = memory(contender), Latencies.together(slices[-1].values()).summary()
        told.append({**said, "mib": round(_whole(last), 1), "others_cores": round(foreign.cores, 2)})
        print(f"  {told[-1]}", flush=True)
        if not warm and time.monotonic() - start >= min(args.warm, args.minutes / 3) * 60:
            warm, first, stored = True, last, _stored(redis)
    same = first.keys() & last.keys()
    was, now = (sum(taken[pid][1] for pid in same) for taken in (first, last))
    by_kind = {kind: Latencies.together(part[kind] for part in slices) for kind in MIX}
    lasted = sum(max(one.seconds for one in part.values()) for part in slices)
    said = Latencies.together(by_kind.values()).summary(lasted)
    return {
        "wanted_rps": round(rate, 1),
        "steady": said,
        "by_kind": {kind: latencies.summary(lasted) for kind, latencies in by_kind.items()},
        "p999_over_p50": round(said["p999_ms"] / said["p50_ms"], 2),
        "memory_mib": [round(was, 1), round(now, 1)],
        "memory_grew": round(now / was - 1, 4),
        "ended": sorted(first[pid][0] for pid in first.keys() - last.keys()),
        "began": sorted(last[pid][0] for pid in last.keys() - first.keys()),
        "processes": [
            {"pid": pid, "title": last[pid][0], "mib": [round(first[pid][1], 1), round(last[pid][1], 1)]}
            for pid in sorted(same, key=lambda pid: -last[pid][1])
        ],
        "redis": {name: [value, _stored(redis)[name]] for name, value in stored.items()},
        "slices": told,
    }


def memory(contender: Contender) -> Memory:
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


def _whole(taken: Memory) -> float:
    return sum(mib for _, mib in taken.values())


def _stored(redis: Redis) -> dict[str, float]:
    """What Redis holds: MiB of all, and how many item writes are in the log of the one shard."""
    logs = list(redis.scan_iter(match="recsys:log:*", count=1000))
    return {
        "mib": round(redis.info("memory")["used_memory"] / 2**20, 1),
        "items_logged": sum(redis.xlen(key) for key in logs),
        "log_mib": round(sum(redis.memory_usage(key) or 0 for key in logs) / 2**20, 1),
    }


def show(told: dict[str, Any]) -> None:
    console = Console(width=120)
    table = Table("process", "MiB of its own, once warm", "at the end", "grew")
    for process in told["processes"]:
        first, last = process["mib"]
        if last >= _LEAST_MIB:
            table.add_row(process["title"], f"{first:,.1f}", f"{last:,.1f}", f"{last / max(first, 0.1) - 1:+.1%}")
    console.print(table)
    table = Table("requests", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "longest", "errors")
    for kind, said in [*told["by_kind"].items(), ("all", told["steady"])]:
        table.add_row(kind, *(f"{value:,}" for value in said.values()))
    console.print(table)
    console.print(
        f"peak {told['peak']['rps']:,.0f} requests/s; wanted {told['wanted_rps']:,.0f}, was "
        f"{told['steady']['rps']:,.0f}; p99.9 is {told['p999_over_p50']} x p50"
    )
    first, last = told["memory_mib"]
    console.print(f"memory of the platform {first:,.0f} MiB, then {last:,.0f}: {told['memory_grew']:+.1%}")
    redis = told["redis"]
    console.print(
        f"Redis held {redis['mib'][0]:,} MiB, then {redis['mib'][1]:,}; of it {redis['items_logged'][0]:,} items "
        f"written take {redis['log_mib'][0]:,} MiB, then {redis['items_logged'][1]:,} take {redis['log_mib'][1]:,}"
    )
    console.print(f"ended: {told['ended'] or 'none'}; began: {told['began'] or 'none'}", markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--warm", type=float, default=7.0, help="minutes until caches are filled; a third of all at the most"
    )
    parser.add_argument("--slice", type=int, default=60, help="seconds of each line of figures")
    parser.add_argument("--rate", type=float, help="requests a second; 70 %% of the peak unless given")
    parser.add_argument("--kinds", action="store_true", help="print what the kinds of requests cost one another")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=Workload.items)
    parser.add_argument("--dimension", type=int, default=Workload.dimension)
    parser.add_argument("--out", type=Path, default=Path("var"))
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "benchmark.yaml")
    args = parser.parse_args()
    args.out = args.out.resolve()
    return args


if __name__ == "__main__":
    main()
