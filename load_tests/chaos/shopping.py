"""Shoppers during a fault: what the platform reports of them must be what their ledger says."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

import httpx

from load_tests.traffic.outcomes import settled
from load_tests.traffic.shoppers import ShopLedger, Shopper

SCENARIO = "shown"
"""Of the stage's config file; nobody else asks for it."""
MISSING = {"Valkey killed": 0, "Redis read-only": 0, "composer killed": 100, "every replica killed": 100}
"""Fault -> answers that may not be in the log after it: a composer that is killed takes its last moment along. During
other faults nobody shops."""
_SHOPPERS = 2
_PAUSE_S = 0.2


class Shopping:
    """Goes on within the block; afterwards `wrong` says what the report has otherwise than the ledger."""

    def __init__(self, url: str, fault: str) -> None:
        self._url = url
        self._missing = MISSING.get(fault)
        self.ledger = ShopLedger()
        self.wrong: list[str] = []

    async def __aenter__(self) -> Self:
        self._start, self._over = time.time(), asyncio.Event()
        self._http = httpx.AsyncClient(base_url=self._url, timeout=10, trust_env=False)
        shoppers = range(_SHOPPERS) if self._missing is not None else ()
        self._shopping = [asyncio.create_task(self._shop(number)) for number in shoppers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        await asyncio.gather(*self._shopping)
        if self._missing is not None and error is None:
            end = time.time() + 1
            self.wrong = await settled(self._http, self.ledger, self._start - 1, end, SCENARIO, self._missing)
            print(f"  shoppers: {self.ledger.counts().get(None)}, {len(self.wrong)} differences", flush=True)
        await self._http.aclose()

    async def _shop(self, number: int) -> None:
        shopper = Shopper(self._http, self.ledger, 50, SCENARIO, number)
        while not self._over.is_set():
            await shopper.visit()
            await asyncio.sleep(_PAUSE_S)
