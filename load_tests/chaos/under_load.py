"""One fault under a constant load, and what was seen of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import httpx

from load_tests.chaos.ledger import Ledger
from load_tests.chaos.shopping import Shopping
from load_tests.chaos.stage import FaultFailed, eventually
from load_tests.chaos.traffic import Record, Traffic

_CALM_S = 3.0
"""Of load before a fault and after the recovery."""
_RECOVERED_WITHIN_S = 120.0


class Harmed(Protocol):
    """What a fault is done to."""

    url: str
    ledger: Ledger

    def whole(self) -> bool:
        """Whether every part is there again, and answers are complete."""


S = TypeVar("S", bound=Harmed)


async def under_load(stage: S, traffic: Traffic, name: str, fault: Callable[[S], None]) -> dict[str, Any]:
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


async def row(
    stage: Harmed, traffic: Traffic, name: str, start: float, before: int, recovered: float, problem: str
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
