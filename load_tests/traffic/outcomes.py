"""Shoppers on a running platform, and whether its report says what they did: `python -m load_tests.traffic.outcomes`.

Nobody else may use the scenario meanwhile. Exit code 1 where the report is not what the ledger says.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from typing import Any

import httpx

from load_tests.traffic.shoppers import COUNTS, ShopLedger, Shopper

_IN_FILES_WITHIN_S = 60.0
_LOOK_S = 2.0
DIMENSIONS = (None, "position", "source", "version")


def main() -> None:
    raise SystemExit("\n".join(asyncio.run(run(_arguments()))) or None)


async def run(args: argparse.Namespace) -> list[str]:
    """What is wrong with the report; empty: nothing."""
    key = os.environ.get("RECSYS_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    ledger, start = ShopLedger(), time.time()
    async with httpx.AsyncClient(base_url=args.url, timeout=10, trust_env=False, headers=headers) as http:
        end = time.monotonic() + args.seconds
        await asyncio.gather(*(_shop(http, ledger, args.scenario, n, end) for n in range(args.shoppers)))
        print(f"ledger: {ledger.counts()[None]}", flush=True)
        wrong = await settled(http, ledger, start, time.time() + 1, args.scenario, args.missing)
    print("the report says the same" if not wrong else "the report differs", flush=True)
    return wrong


async def _shop(http: httpx.AsyncClient, ledger: ShopLedger, scenario: str, number: int, end: float) -> None:
    shopper = Shopper(http, ledger, 200, scenario, number)
    while time.monotonic() < end:
        await shopper.visit()


async def settled(
    http: httpx.AsyncClient, ledger: ShopLedger, start: float, end: float, scenario: str, missing: int = 0
) -> list[str]:
    """What is wrong with the report once everything is in files, or after a minute."""
    deadline = time.monotonic() + _IN_FILES_WITHIN_S
    while True:
        wrong: list[str] = []
        for by in DIMENSIONS[:1] if missing else DIMENSIONS:
            wrong += ledger.wrong(await report_of(http, start, end, scenario, by), by, missing)
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(_LOOK_S)


async def report_of(http: httpx.AsyncClient, start: float, end: float, scenario: str, by: str | None) -> dict[str, Any]:
    """The report of one scenario, in the shape of a report of all."""
    names = ["scenario", by] if by else ["scenario"]
    query: dict[str, str | float] = {"from": start, "to": end, "by": ",".join(names)}
    report = (await http.get("/v1/metrics/outcomes", params=query, timeout=60)).raise_for_status().json()
    groups = [group for group in report["groups"] if group["scenario"] == scenario]
    total = groups[0] if groups and by is None else dict.fromkeys(COUNTS, 0)
    return {**report, "groups": groups, "total": total}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.traffic.outcomes", description=__doc__)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="of the platform")
    add("--scenario", default="home", help="that nobody else uses meanwhile")
    add("--seconds", type=float, default=20.0)
    add("--shoppers", type=int, default=8)
    add("--missing", type=int, default=0, help="answers that may be lost, where a composer is killed meanwhile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
