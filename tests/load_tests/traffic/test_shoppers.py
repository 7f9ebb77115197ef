"""The ledger of shoppers against the platform's own report: equal to the last click, whatever goes away meanwhile."""

from __future__ import annotations

import asyncio
import time

import httpx

from load_tests.traffic.outcomes import settled
from load_tests.traffic.shoppers import ShopLedger, Shopper, Shown
from recsys.serving.background import Background
from recsys.serving.slate_loops import keep_log
from recsys.state.connection import connect
from tests.support import served_world
from tests.support.own_valkey import Valkey
from tests.support.ports import free_port
from tests.support.world import eventually

SHOPPERS = 4
PAUSE_S = 0.1
"""Between two visits of a shopper: without it they take all of a processor for as long as a test waits."""


async def shop(http, ledger, until: asyncio.Event):
    async def one(number):
        shopper = Shopper(http, ledger, 5, "home", number)
        while not until.is_set():
            await shopper.visit()
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(one(number) for number in range(SHOPPERS)))


def test_the_ledger_counts_by_hand():
    two = Shown("home", "v1", ("a", "b"), ("similar", "popular"))
    ledger = ShopLedger({"r1": two, "r2": Shown("home", "v2", (), ())})
    deeds = [("a", "impression", {}), ("b", "click", {}), ("b", "purchase", {"value": 3.0})]
    for n, (item, kind, value) in enumerate(deeds):
        ledger.events[f"e{n}"] = {"request_id": "r1", "item_id": item, "type": kind, **value}
    names = ("answers", "items", "impressions", "clicks", "conversions", "value")
    assert ledger.counts() == {None: dict(zip(names, (2, 2, 1, 1, 1, 3.0), strict=True))}
    assert ledger.counts("position")[1] == dict(zip(names, (1, 1, 1, 0, 0, 0.0), strict=True))
    assert ledger.counts("position")[0] == dict(zip(names, (1, 0, 0, 0, 0, 0.0), strict=True))
    assert ledger.counts("source")["popular"]["value"] == 3.0
    assert ledger.counts("version")["v2"]["answers"] == 1
    right = {"total": ledger.counts()[None], "groups": [], "unknown": 0, "untimely": 0, "elsewhere": 0}
    assert ledger.wrong(right) == []
    assert ledger.wrong({**right, "total": {**right["total"], "clicks": 2}})
    assert ledger.wrong({**right, "unknown": 1})
    assert ledger.wrong({**right, "total": {**right["total"], "answers": 1}}, missing=1) == []
    assert ledger.wrong({**right, "total": {**right["total"], "answers": 0}}, missing=1)
    assert ledger.wrong({**right, "unknown": 1}, missing=1)


async def test_the_report_is_the_ledger_though_redis_was_away(make_http, short_slots):
    """Answers went on and waited; events were refused and came again. No answer, click or coin is lost or doubled."""
    valkey = Valkey(appendonly="yes", appendfsync="always")
    valkey.start()
    try:
        async with connect(valkey.url, timeout_s=20) as redis:
            http = await make_http(redis=redis)
            background = Background()
            keep_log(background, http.world.gateway, redis)
            ledger, over, start = ShopLedger(), asyncio.Event(), time.time()
            shopping = asyncio.create_task(shop(http, ledger, over))
            for _ in range(2):
                before = len(ledger.shown)
                assert await eventually(lambda before=before: len(ledger.shown) > before + 20)
                valkey.stop()
                await asyncio.sleep(1.0)
                valkey.start()
            before = len(ledger.events)
            assert await eventually(lambda: len(ledger.events) > before + 20)
            over.set()
            await shopping
            assert not ledger.unsure
            assert await settled(http, ledger, start - 1, time.time() + 1, "home") == []
            await background.stop()
            await http.world.gateway.stop()
    finally:
        valkey.remove()


async def test_a_killed_composer_takes_its_last_moment_along_and_no_event(tmp_path, shared_valkey, redis):
    """All events are in the report, those about answers that were lost as unknown; other answers are all there."""
    port = free_port()
    ledger, over, start = ShopLedger(), asyncio.Event(), time.time()

    def started():
        return served_world.start(tmp_path / "versions", shared_valkey.url, port)

    server = started()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http:
            shopping = asyncio.create_task(shop(http, ledger, over))
            assert await eventually(lambda: len(ledger.shown) > 40, 60)
            lately = len(ledger.shown)
            await asyncio.sleep(2.0)
            server.kill()
            server.join()
            lately = len(ledger.shown) - lately + SHOPPERS
            server = started()
            before = len(ledger.shown)
            assert await eventually(lambda: len(ledger.shown) > before + 20, 60)
            over.set()
            await shopping
            assert not ledger.unsure
            assert await settled(http, ledger, start - 1, time.time() + 1, "home", missing=lately) == []
    finally:
        server.kill()
        server.join()
