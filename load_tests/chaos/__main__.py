"""`python -m load_tests.chaos`: one fault after another under a constant load, then what is left of every write."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load_tests.chaos import report
from load_tests.chaos.data_path import ELSEWHERE
from load_tests.chaos.faults import FAULTS, Fault
from load_tests.chaos.freshness import freshness
from load_tests.chaos.stage import Stage
from load_tests.chaos.traffic import Traffic
from load_tests.chaos.under_load import row, under_load
from load_tests.comparison.bench import ROOT
from recsys.data.movielens import fetch_ml100k

_BURST = 1500


def main() -> None:
    args = arguments().parse_args()
    data = fetch_ml100k(args.out / "ml-100k", lambda _phase: None).items_file.parent
    faults: list[dict[str, Any]] = []
    fresh: dict[str, Any] | None = None
    if any(wanted(args, name) for name in (*FAULTS, "overload", "freshness")):
        with on_stage(Stage(args.out / "chaos", data)) as stage:
            faults, fresh = asyncio.run(suite(stage, args))
    for name, (servers, fault) in ELSEWHERE.items():
        if wanted(args, name):
            with on_stage(Stage(args.out / "chaos", data, servers(args.out / "chaos-servers"))) as stage:
                faults += asyncio.run(alone(stage, args, name, fault))
    report.write(args.out / "chaos.json", faults, fresh)
    report.show(faults, fresh)
    if broken := report.broken(faults, fresh):
        raise SystemExit("\n".join(broken))


def wanted(args: argparse.Namespace, name: str) -> bool:
    return not args.only or name in args.only


@contextmanager
def on_stage(stage: Stage) -> Iterator[Stage]:
    try:
        stage.up()
        yield stage
    finally:
        stage.down()


async def alone(stage: Stage, args: argparse.Namespace, name: str, fault: Fault) -> list[dict[str, Any]]:
    """One fault on a platform of its own."""
    traffic = Traffic(stage.url, stage.ledger, args.rate)
    try:
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        return [await under_load(stage, traffic, name, fault)]
    finally:
        await traffic.close()


async def suite(stage: Stage, args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    ledger = stage.ledger
    traffic = Traffic(stage.url, ledger, args.rate)
    chosen = {name: fault for name, fault in FAULTS.items() if wanted(args, name)}
    rows = []
    try:
        for name, fault in chosen.items():
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            rows.append(await under_load(stage, traffic, name, fault))
        if wanted(args, "overload"):
            rows.append(await overload(stage, traffic))
        fresh = None
        if wanted(args, "freshness"):
            stop = asyncio.Event()
            load = asyncio.create_task(traffic.run(stop))
            fresh = await freshness(stage.url)
            stop.set()
            await load
    finally:
        await traffic.close()
    stage.versions()
    if rows and (unknown := ledger.versions - stage.published):
        rows[-1]["problem"] = f"answers came from versions that were never published: {unknown}"
    return rows, fresh


async def overload(stage: Stage, traffic: Traffic) -> dict[str, Any]:
    """Far more at once than can wait: what is too much is told so, and nothing else goes wrong."""
    before, start = traffic.ledger.acknowledged, time.monotonic()
    traffic.record = await traffic.burst(_BURST)
    recovered = time.monotonic() - start
    return await row(stage, traffic, "overload", start, before, recovered, "")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests.chaos", description=__doc__)
    names = ", ".join([*FAULTS, "overload", "freshness", *ELSEWHERE])
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help=names)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--out", type=Path, default=ROOT / "var")
    return parser


if __name__ == "__main__":
    main()
