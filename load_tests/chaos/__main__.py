"""`python -m load_tests.chaos`: one fault after another under a constant load, then what is left of every write."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from load_tests.chaos import report
from load_tests.chaos.data_path import ELSEWHERE
from load_tests.chaos.faults import FAULTS, Fault
from load_tests.chaos.freshness import freshness
from load_tests.chaos.ledger import Ledger
from load_tests.chaos.shopping import Shopping
from load_tests.chaos.stage import FaultFailed, Stage, eventually
from load_tests.chaos.traffic import Record, Traffic
from load_tests.comparison.bench import ROOT
from recsys.data.movielens import fetch_ml100k

_CALM_S = 3.0
"""Of load before a fault and after the recovery."""
_RECOVERED_WITHIN_S = 120.0
_BURST = 1500


def main() -> None:
    args = arguments().parse_args()
    data = fetch_ml100k(args.out / "ml-100k", lambda _phase: None).items_file.parent
    faults, fresh = [], None
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


async def under_load(stage: Stage, traffic: Traffic, name: str, fault: Fault) -> dict[str, Any]:
    traffic.record = Record()
    before, stop, start = traffic.ledger.acknowledged, asyncio.Event(), time.monotonic()
    load = asyncio.create_task(traffic.run(stop))
    async with Shopping(stage.url, name) as shopping:
        await asyncio.sleep(_CALM_S)
        harmed, problem = time.monotonic(), ""
        try:
            await asyncio.to_thread(fault, stage)
        except FaultFailed as error:
            problem = str(error)
        if not await asyncio.to_thread(eventually, stage.whole, _RECOVERED_WITHIN_S):
            problem = problem or f"not whole again after {_RECOVERED_WITHIN_S:.0f} s"
        recovered = time.monotonic() - harmed
        await asyncio.sleep(_CALM_S)
        stop.set()
        await load
    problem = problem or "; ".join(shopping.wrong[:3])
    return await row(stage, traffic, name, start, before, recovered, problem)


async def overload(stage: Stage, traffic: Traffic) -> dict[str, Any]:
    """Far more at once than can wait: what is too much is told so, and nothing else goes wrong."""
    before, start = traffic.ledger.acknowledged, time.monotonic()
    traffic.record = await traffic.burst(_BURST)
    recovered = time.monotonic() - start
    return await row(stage, traffic, "overload", start, before, recovered, "")


async def row(
    stage: Stage, traffic: Traffic, name: str, start: float, before: int, recovered: float, problem: str
) -> dict[str, Any]:
    record, end = traffic.record, time.monotonic()
    lost = await final_state(stage.url, traffic.ledger)
    for line in [*lost, *record.rule_breaks][:10]:
        print(f"  {line}", flush=True)
    return {
        "name": name,
        "requests": record.requests,
        "failed": record.failed,
        "refused": record.refused,
        "overloaded": record.overloaded,
        "degraded": record.degraded,
        "gap_s": round(record.gap_s(start, end), 2),
        "recovered_s": round(recovered, 1),
        "acknowledged_writes": traffic.ledger.acknowledged - before,
        "writes_lost": len(lost),
        "rule_breaks": len(record.rule_breaks),
        "problem": problem,
        "failures": dict(record.failures),
    }


async def final_state(url: str, ledger: Ledger) -> list[str]:
    """Acknowledged writes that the platform no longer knows."""
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        histories = {}
        for user in ledger.events:
            answer = (await http.get(f"/v1/users/{user}", params={"limit": 1000})).raise_for_status().json()
            histories[user] = [event["event_id"] for event in answer["history"]]
        titles: dict[str, str | None] = {}
        for item in ledger.titles:
            answer = await http.get(f"/v1/items/{item}")
            titles[item] = None if answer.status_code == 404 else answer.raise_for_status().json()["title"]
    return ledger.lost(histories, titles)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests.chaos", description=__doc__)
    names = ", ".join([*FAULTS, "overload", "freshness", *ELSEWHERE])
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help=names)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--out", type=Path, default=ROOT / "var")
    return parser


if __name__ == "__main__":
    main()
