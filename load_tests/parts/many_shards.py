"""Many shards on this machine: `python -m load_tests.parts.many_shards`.

Two replicas of each shard in four processes, on channels as the platform has them, and a composer in this process;
without Ray and HTTP, which are no part of the question. Measured for 8 and for 16 shards:

all of each    every shard gives as many candidates as the scenario wants
q of each      every shard gives so few that the best of all come in 99 of 100 answers
slow           one replica of each second shard answers some searches late, as one does whose machine does other work
paused         one process after another stands still for some milliseconds, as with a pause of its machine
hedged         and a shard that is late is asked again at its other replica

The first two are asked by clients of which each waits for its answer, the others at a fixed rate that leaves the
machine time, for hedging is about a late replica and not about a full machine: times count from when a request was due.

Each with times of an answer, CPU of all processes a request, bytes that the shards send, calls that were made again,
and the share of items that are the same as with all of each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT
from load_tests.parts.shards_stage import Stage, valkey
from recsys.datatypes import Interaction, Item, RecQuery
from recsys.errors import Overloaded, Unavailable
from recsys.ranking.candidate_shares import asked_of_each
from recsys.routing import Router
from recsys.serving.gateway import Gateway

_WORDS = 400
"""Different words of all titles; an item has eight of them."""
_COMPARED = 300
"""Slates of each kind that are compared. Those of item pages are the ten nearest. Home pages are ranked by more than a
source goes by, so there all of each, which is S times what the scenario asks for, may find what no single shard would
have proposed."""


def catalogue(n: int) -> list[Item]:
    """Items of eight random words each, rare ones seldom."""
    rng = np.random.default_rng(7)
    chances = 1 / np.arange(10, _WORDS + 10)
    words = [f"word{i}" for i in range(_WORDS)]
    picks = rng.choice(_WORDS, (n, 8), p=chances / chances.sum())
    return [Item(f"i{i}", " ".join(words[w] for w in row)) for i, row in enumerate(picks.tolist())]


class Requests:
    """Of one way: seconds from when each was due to its answer, and how many were answered in part or not at all."""

    def __init__(self, gateway: Gateway, users: int) -> None:
        self._gateway, self._users = gateway, users
        self.begin()

    def begin(self) -> None:
        self.times: list[float] = []
        self.degraded = self.refused = 0

    async def ask(self, due: float) -> None:
        try:
            slate = await self._gateway.recommend(RecQuery(user_id=f"u{random.randrange(self._users)}", k=10))
        except (Overloaded, Unavailable):  # the machine does other work
            self.refused += 1
            return
        self.times.append(time.monotonic() - due)
        self.degraded += bool(slate.degraded)


async def measure(
    stage: Stage,
    gateway: Gateway,
    way: str,
    *,
    all_of_each: bool = False,
    share: float = 0.0,
    slow: bool = False,
    paused: bool = False,
    at_a_rate: bool = True,
) -> dict[str, Any]:
    args, requests = stage.args, Requests(gateway, stage.args.users)
    for hedging in stage.hedgings:
        hedging.share = share
    processes = [psutil.Process(pid) for pid in (os.getpid(), *stage.pids)]

    async def client(until: float) -> None:
        while time.monotonic() < until:
            await requests.ask(time.monotonic())

    async def load(seconds: float) -> None:
        start = time.monotonic()
        if not at_a_rate:
            await asyncio.gather(*(client(start + seconds) for _ in range(args.clients)))
            return
        asking = []
        for n in range(int(seconds * args.rate)):
            await asyncio.sleep(max(start + n / args.rate - time.monotonic(), 0.0))
            asking.append(asyncio.create_task(requests.ask(start + n / args.rate)))
        await asyncio.gather(*asking)

    with patch.object(Router, "spread", 1) if all_of_each else contextlib.nullcontext():
        stage.slow(args.slow_share if slow else 0.0)
        await load(max(args.seconds / 4, 128 / args.rate))  # so that what late is has been learned
        pausing = asyncio.create_task(_pause(stage.pids, args)) if paused else None
        requests.begin()
        stage.counts.hedged.clear()
        stage.sent_b, stage.calls, cpu = 0, 0, _cpu(processes)
        await load(args.seconds)
        spent = _cpu(processes) - cpu
        if pausing is not None:
            pausing.cancel()
            await asyncio.gather(pausing, return_exceptions=True)
    times = requests.times
    if not times:
        raise SystemExit(
            f"{way}: none of {requests.refused} requests was answered; the machine is too busy, or --rate too high"
        )
    again = sum(stage.counts.hedged.values())
    p50, p95, p99, p999 = np.percentile(np.array(times) * 1000, (50, 95, 99, 99.9)).round(2).tolist()
    return {
        "shards": stage.platform.shards,
        "way": way,
        "requests": len(times),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "p999_ms": p999,
        "cpu_us": round(spent / len(times) * 1e6),
        "sent_kb": round(stage.sent_b / len(times) / 1000, 2),
        "called_again": round(again / max(stage.calls, 1), 4),
        "won": stage.counts.hedged["won"],
        "degraded": round(requests.degraded / len(times), 5),
        "refused": requests.refused,
    }


async def _pause(pids: Sequence[int], args: argparse.Namespace) -> None:
    """One process after another, each time another one."""
    while True:
        for pid in pids:
            await asyncio.sleep(args.every_s)
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(args.pause_ms / 1000)
            finally:
                os.kill(pid, signal.SIGCONT)


async def same_items(gateway: Gateway, queries: Sequence[RecQuery]) -> float:
    """Share of the items of slates that are the same with q of each shard as with all of each."""
    same = given = 0
    for query in queries:
        few = {r.item_id for r in (await gateway.recommend(query)).items}
        with patch.object(Router, "spread", 1):
            every = {r.item_id for r in (await gateway.recommend(query)).items}
        same, given = same + len(few & every), given + len(every)
    return round(same / given, 5)


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


async def record(gateway: Gateway, items: Sequence[Item], users: int) -> None:
    rng, now = np.random.default_rng(3), time.time()
    for start in range(0, users, 50):
        await gateway.record(
            [
                Interaction(f"{u}-{n}", f"u{u}", items[int(i)].item_id, "like", now - 60 + n)
                for u in range(start, min(start + 50, users))
                for n, i in enumerate(rng.integers(0, len(items), 8))
            ]
        )


async def run(stage: Stage, items: Sequence[Item]) -> list[dict[str, Any]]:
    async with stage.composer() as gateway:
        await record(gateway, items, stage.args.users)
        rows = [
            await measure(stage, gateway, "all of each", all_of_each=True, at_a_rate=False),
            await measure(stage, gateway, "q of each", at_a_rate=False),
            await measure(stage, gateway, "slow", slow=True),
            await measure(stage, gateway, "slow, hedged", share=0.05, slow=True),
            await measure(stage, gateway, "paused", paused=True),
            await measure(stage, gateway, "paused, hedged", share=0.05, paused=True),
        ]
        homes = [RecQuery(user_id=f"u{i}", k=10) for i in range(min(_COMPARED, stage.args.users))]
        pages = [RecQuery(scenario="similar", like_item=item.item_id, k=10) for item in items[:_COMPARED]]
        same = {"home": await same_items(gateway, homes), "similar": await same_items(gateway, pages)}
    quotas = {k: asked_of_each(k, stage.platform.shards) for k in (10, 20, 30, 50)}
    q = ", ".join(map(str, quotas.values()))
    print(f"{stage.platform.shards} shards: q of 10, 20, 30, 50 candidates is {q}")
    print(f"the same items as with all of each: {same['similar']:.2%} on item pages, {same['home']:.2%} on home pages")
    return [{**row, "q": quotas, "same_items": same} for row in rows]


def show(rows: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    table = Table(
        "shards", "way", "requests", "p50 ms", "p95", "p99", "p99.9", "CPU µs", "sent kB", "called again", "degraded",
        "refused",
        title=f"{args.items:,} items of {args.dimension} dimensions, {args.seconds:g} s each: {args.clients} clients, "
        f"then {args.rate:g} requests/s; slow: {args.slow_share:.0%} of a process' searches by {args.slow_ms:g} ms; "
        f"paused: {args.pause_ms:g} ms every {args.every_s:g} s",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            str(row["shards"]), row["way"], f"{row['requests']:,}",
            *(f"{row[f'{p}_ms']:.1f}" for p in ("p50", "p95", "p99", "p999")),
            f"{row['cpu_us']:,}", f"{row['sent_kb']:.1f}", f"{row['called_again']:.2%}", f"{row['degraded']:.2%}",
            str(row["refused"]),
            end_section=row["way"] == "paused, hedged",
        )  # fmt: skip
    Console(width=150).print(table)


def main() -> None:
    args = arguments()
    items, rows = catalogue(args.items), []
    with tempfile.TemporaryDirectory(prefix="many") as folder, valkey(Path(folder)) as url:
        for shards in args.shards:
            stage = Stage(shards, args, Path(folder), url)
            stage.build(items)
            stage.start()
            try:
                rows += asyncio.run(run(stage, items))
            finally:
                stage.stop()
    show(rows, args)
    results.write({"machine": results.machine(), "rows": rows}, args.out / "many-shards.json")
    print(f"written: {args.out / 'many-shards.json'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.parts.many_shards", description=__doc__)
    add = parser.add_argument
    add("--shards", type=lambda text: [int(n) for n in text.split(",")], default=[8, 16])
    add("--items", type=int, default=40_000)
    add("--dimension", type=int, default=128)
    add("--engine", default="hnsw")
    add("--users", type=int, default=500)
    add("--clients", type=int, default=8)
    add("--seconds", type=float, default=20.0, help="of each way")
    add("--rate", type=float, default=20.0, help="requests/s of the ways that are not full load")
    add("--slow-share", type=float, default=0.05, help="of the searches of one process that are late")
    add("--slow-ms", type=float, default=50.0)
    add("--pause-ms", type=float, default=30.0)
    add("--every-s", type=float, default=0.5)
    add("--budget-s", type=float, default=1.0)
    add("--out", type=Path, default=ROOT / "var")
    return parser.parse_args()


if __name__ == "__main__":
    main()
