"""What 100 million and a billion items would take, on paper: `python -m load_tests.growth.forecast`.

After `make scaling`: everything comes from var/scaling.json and var/tail.json by the formulas below, which the table
names; nothing of this size was run. Costs that grow with a graph are fitted as a + b ln(items), as a walk's and an
insertion's steps grow (arXiv:1603.09320, section 4.2), and carried on past the largest measured size.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from load_tests.comparison.bench import ROOT
from recsys.ranking.candidate_shares import asked_of_each

Row = dict[str, Any]
SIZES = (1_000_000, 100_000_000, 1_000_000_000)
CLIENTS = 32
"""Rows of the sweeps that count: requests that come in batches, as under load."""
QUERY_B = 4000
"""A request's part of a call to a shard: two vectors of 384 float32, keys of 100 seen items, and the rest."""
CANDIDATE_B = 190
"""A candidate's part of the answer: key, sources, 9 likenesses, 3 columns, 64 bytes of sketch, id and title."""
ENCODED_PER_S = 920
"""Texts a second and core, onnx-int8: docs/benchmarks.md."""
FULL = 0.75
"""Share of a machine's memory and of its cores' time that is planned for."""


@dataclass(frozen=True)
class Costs:
    """Measured; each at `dimension`."""

    resident_b: float
    """Bytes of a shard's memory an item, its own and of the index and columns that it maps."""
    vector_b: float
    """Bytes an item of the file of vectors that shards map."""
    version_b: float
    walk_us: tuple[float, float]
    """CPU of one shard's part of a request, composer's merging included: a, b of a + b ln(items of the shard)."""
    request_us: float
    """CPU of the rest of a request, whatever the number of shards."""
    insert_us: tuple[float, float]
    """CPU of building an item into a shard: a, b of a + b ln(items of the shard)."""


def costs(rows: list[Row], dimension: int) -> Costs:
    ours = [row for row in rows if row["contender"] == "recsys" and row["clients"] == CLIENTS]
    items, shards = ([row for row in ours if row["axis"] == axis] for axis in ("items", "shards"))
    if len(items) < 2 or len(shards) < 2:
        raise SystemExit("two sizes and two numbers of shards must be measured first: make scaling")
    wider = dimension - items[0]["step"]["work"]["dimension"]
    n = [row["value"] for row in items]
    resident, _ = _line(n, [row["shards_own_mib"] * 2**20 + row.get("mapped_bytes", 0) for row in items])
    walk_b, _ = _line(np.log(n), [row["cpu_us"] for row in items])
    insert_b, insert_a = _line(np.log(n), [row["build_cpu_s"] / row["value"] * 1e6 for row in items])
    per_shard, rest = _line([row["value"] for row in shards], [row["cpu_us"] for row in shards])
    work = shards[0]["step"]["work"]
    typical = work["items"] / math.exp(np.log([row["value"] for row in shards]).mean())
    # Insertion is mostly distances; what a wider vector adds is seen where both dimensions were built.
    both = [row for row in ours if row["step"]["work"]["dimension"] == dimension and row["axis"] != "shards"]
    factor = 1.0
    if wider and both:
        at = both[0]["step"]["work"]["items"]
        factor = both[0]["build_cpu_s"] / at * 1e6 / (insert_a + insert_b * math.log(at))
    version = np.mean([row["version_bytes"] / row["value"] for row in items[-1:]])
    return Costs(
        resident_b=resident + wider,  # int8: a byte a component
        vector_b=4 * dimension,
        version_b=float(version) + 5 * wider,
        walk_us=(per_shard - max(walk_b, 0) * math.log(typical), max(walk_b, 0)),
        request_us=max(rest, 0.0),
        insert_us=(factor * insert_a, factor * insert_b),
    )


def plan(items: int, c: Costs, args: argparse.Namespace) -> dict[str, Any]:
    shards = math.ceil(items / args.per_shard)
    each = items / shards
    walk, insert = (a + b * math.log(each) for a, b in (c.walk_us, c.insert_us))
    replicas = max(2, math.ceil(args.rate * walk / 1e6 / FULL))
    resident, mapped = (items * replicas * size / 2**30 for size in (c.resident_b, c.vector_b))
    cores = math.ceil(args.rate * (shards * walk + c.request_us) / 1e6 / FULL)
    machines = max(2, math.ceil((resident + mapped) / FULL / args.memory), math.ceil(cores / args.cores))
    few = asked_of_each(args.candidates, shards)
    mb = [shards * (QUERY_B + CANDIDATE_B * k) / 1e6 for k in (args.candidates, few)]
    gbit = [each_mb * args.rate * 8 / 1000 for each_mb in mb]
    build_h, encode_h = items * insert / 3.6e9, items / ENCODED_PER_S / 3600
    return {
        "items": items,
        "shards S = ⌈N / n⌉": shards,
        "CPU of a shard a request, w": f"{walk:.0f} µs",
        "replicas of each r = max(2, ⌈R w / u⌉)": replicas,
        "memory of their own, N r m": f"{resident:,.0f} GiB",
        "… and vectors mapped, N r 4d": f"{mapped:,.0f} GiB",
        "cores R (S w + c) / u": f"{cores:,}",
        f"machines of {args.memory} GiB and {args.cores} cores": f"{machines:,}",
        f"network a request, {args.candidates} candidates of each shard": f"{mb[0]:,.2f} MB",
        "… with q of each": f"{mb[1]:,.2f} MB, q = {few}",
        f"… both at {args.rate:,} requests/s": f"{gbit[0]:,.1f}, {gbit[1]:,.1f} Gbit/s",
        "a version on disk, N v": f"{items * c.version_b / 2**30:,.0f} GiB",
        "index, core hours": f"{build_h:,.1f}",
        "texts to vectors, core hours": f"{encode_h:,.1f}",
        "both on these machines": f"{(build_h + encode_h) / FULL / machines / args.cores:,.1f} h",
    }


def tails(measured: dict[str, Any], shards: int) -> dict[str, str]:
    """Of the simulated number of shards that is next above."""
    near = min((row["shards"] for row in measured["rows"] if row["shards"] >= shards), default=1000)
    waits, cut, _, both = (row for row in measured["rows"] if row["shards"] == near)
    deadline = f"{cut['deadline_ms']:.0f} ms"
    more = "≥ " if "p99_ms" in waits["beyond"] else ""
    return {
        "tail simulated for so many shards": str(near),
        "p50, p99 of the slowest": f"{waits['p50_ms']:.0f}, {more}{waits['p99_ms']:.0f} ms",
        f"partial answers, items left out at {deadline}": f"{cut['partial']:.0%}, {cut['missing']:.2%}",
        "… and calls hedged": f"{both['partial']:.2%}, {both['missing']:.4%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m load_tests.growth.forecast", description=__doc__)
    add = parser.add_argument
    add("--measured", type=Path, default=ROOT / "var", help="folder of scaling.json and tail.json")
    add("--dimension", type=int, default=384)
    add("--rate", type=int, default=1000, help="R: requests a second")
    add("--per-shard", type=int, default=4_000_000, help="n: items of a shard")
    add("--candidates", type=int, default=50)
    add("--memory", type=int, default=64, help="GiB of a machine")
    add("--cores", type=int, default=16, help="of a machine")
    args = parser.parse_args()
    scaling, tail = (json.loads((args.measured / name).read_text()) for name in ("scaling.json", "tail.json"))
    c = costs(scaling["rows"], args.dimension)
    print(f"m {c.resident_b:,.0f} bytes, v {c.version_b:,.0f} bytes, c {c.request_us:,.0f} µs, u {FULL}")
    (w0, w1), (i0, i1) = c.walk_us, c.insert_us
    print(f"w = {w0:,.0f} + {w1:,.1f} ln n µs; CPU to insert an item = {i0:,.0f} + {i1:,.1f} ln n µs\n")
    plans = [plan(size, c, args) for size in SIZES]
    plans = [{**p, **tails(tail, p["shards S = ⌈N / n⌉"])} for p in plans]
    names = list(dict.fromkeys(name for p in plans for name in p))
    print("| | " + " | ".join(f"{p['items']:,}" for p in plans) + " |")
    print("|" + " --- |" * (len(plans) + 1))
    for name in names[1:]:
        print(f"| {name} | " + " | ".join(str(p[name]) for p in plans) + " |")


def _line(x: Any, y: Any) -> tuple[float, float]:
    """Slope and height of the straight line nearest to the points."""
    slope, height = np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)
    return float(slope), float(height)


if __name__ == "__main__":
    main()
