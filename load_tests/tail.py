"""The tail of a scatter-gather, by simulation from measured latencies: `python -m load_tests.tail --url URL`.

An answer needs the slowest of its shards, so the rare slow call of one becomes the common case of many (Dean and
Barroso 2013, "The Tail at Scale"). One shard's latencies are measured on a running platform, from the `candidates`
stage of its Server-Timing, and drawn from at random for each of many shards: as if they were independent, which shards
that share a machine are not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

Floats = npt.NDArray[np.float64]
SHARDS = (1, 2, 8, 32, 100, 300, 1000)
_DRAWS = 20_000
_STAGE = re.compile(r"candidates;dur=([0-9.]+)")


async def measure(url: str, requests: int, rate: float, users: int) -> Floats:
    """(requests,) milliseconds of the candidates stage; requests leave by the clock."""
    found: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:

        async def one(n: int) -> None:
            answer = await http.get(f"/v1/users/{n * 7919 % users + 1}/recommendations")
            answer.raise_for_status()
            stage = _STAGE.search(answer.headers["server-timing"])
            if stage:
                found.append(float(stage[1]))

        async with asyncio.TaskGroup() as group:
            start = time.monotonic()
            for n in range(requests):
                group.create_task(one(n))
                await asyncio.sleep(max(0.0, start + n / rate - time.monotonic()))
    return np.array(found)


def gather(
    latencies: Floats, shards: int, deadline: float | None, hedge: float | None, seed: int = 7
) -> dict[str, float]:
    """Percentiles of the slowest of so many calls, in milliseconds; shares of answers and of shards that are cut off.

    `deadline`: calls later than this are left out. `hedge`: a call later than this is made again at a sister replica,
    and the first of both answers counts. `missing`: mean share of shards left out, which with items spread by hash is
    the recall lost.
    """
    rng = np.random.default_rng(seed)
    slowest, partial, missing = [], 0.0, 0.0
    for start in range(0, _DRAWS, 500):  # 500 x 1000 draws at a time
        calls = rng.choice(latencies, (min(500, _DRAWS - start), shards))
        if hedge is not None:
            again = hedge + rng.choice(latencies, calls.shape)
            calls = np.where(calls > hedge, np.minimum(calls, again), calls)
        if deadline is not None:
            late = calls > deadline
            partial += late.any(axis=1).sum()
            missing += late.mean(axis=1).sum()
            calls = np.minimum(calls, deadline)
        slowest.append(calls.max(axis=1))
    p50, p99, p999 = np.percentile(np.concatenate(slowest), (50, 99, 99.9))
    return {
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "p999_ms": round(float(p999), 2),
        "partial": round(float(partial) / _DRAWS, 4),
        "missing": round(float(missing) / _DRAWS, 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m load_tests.tail", description=__doc__)
    parser.add_argument("--url", help="a platform with one shard; none: the samples of --samples are used again")
    parser.add_argument("--samples", type=Path, default=Path("var/tail-samples.json"))
    parser.add_argument("--out", type=Path, default=Path("var/tail.json"))
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--users", type=int, default=1000)
    args = parser.parse_args()
    if args.url:
        measured = asyncio.run(measure(args.url, args.requests, args.rate, args.users))
        args.samples.parent.mkdir(parents=True, exist_ok=True)
        args.samples.write_text(json.dumps([round(ms, 3) for ms in measured.tolist()]))
    latencies = np.array(json.loads(args.samples.read_text()))
    at = {q: float(np.percentile(latencies, q)) for q in (50, 95, 99, 99.9)}
    print(f"{len(latencies)} calls of one shard: " + ", ".join(f"p{q} {ms:.2f} ms" for q, ms in at.items()))
    ways: dict[str, tuple[float | None, float | None]] = {
        "wait for all": (None, None),
        f"deadline {at[99.9]:.1f} ms (p99.9)": (at[99.9], None),
        f"hedge at {at[95]:.1f} ms (p95)": (None, at[95]),
        "both": (at[99.9], at[95]),
    }
    table = Table("shards", "way", "p50 ms", "p99 ms", "p99.9 ms", "partial answers", "recall lost")
    rows = []
    for shards in SHARDS:
        for way, (deadline, hedge) in ways.items():
            found = gather(latencies, shards, deadline, hedge)
            rows.append({"shards": shards, "way": way, **found})
            cells = [
                found["p50_ms"],
                found["p99_ms"],
                found["p999_ms"],
                f"{found['partial']:.1%}",
                f"{found['missing']:.3%}",
            ]
            table.add_row(str(shards), way, *map(str, cells), end_section=way == "both")
    Console(width=120).print(table)
    args.out.write_text(json.dumps({"one_shard_ms": at, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
