"""What `make compare` switches on and off while the platform runs: experiments and viewers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from deployments.api.app import make_api
from deployments.api.traces import Traces
from load_tests.comparison.toggled import running_experiments, toggles, with_rules
from load_tests.comparison.viewers import watch
from recsys.access.gate import Gate
from recsys.config.scenarios import Scenario
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.ranking.variants import with_variants
from tests.support.console import served
from tests.support.world import World, event


def test_what_can_be_switched_is_measured_where_it_is_asked_for() -> None:
    assert toggles(experiments=False, viewers=0, rules=False) == []
    chosen = [toggle.name for toggle in toggles(experiments=True, viewers=10, rules=True)]
    assert chosen == ["rules", "experiments", "viewers"]


async def test_rules_are_in_force_while_they_are_measured(make_world: Any) -> None:
    """The platform takes them as they are written, and is as it was afterwards."""
    world: World = await make_world()
    before, entered, finished = world.gateway.settings, threading.Event(), threading.Event()

    def measure(url: str) -> None:
        with with_rules(url):
            entered.set()
            assert finished.wait(60)

    async with served(make_api(world.gateway, Gate(), Traces("r"))) as url:
        measuring = asyncio.create_task(asyncio.to_thread(measure, url))
        assert await asyncio.to_thread(entered.wait, 60)
        assert [rule["kind"] for rule in world.gateway.settings.scenarios["home"].rules] == ["boost", "bury", "pin"]
        finished.set()
        await measuring
    assert world.gateway.settings.scenarios == before.scenarios


async def test_two_experiments_run_while_they_are_measured_and_change_no_order(make_world: Any) -> None:
    """The variants are scenarios of their own, whose weights are those of the control times a number."""
    weighted = {name: Scenario(weights={"taste": 1.0, "query": 1.0}) for name in ("home", "similar")}
    world: World = await make_world(serving=Serving(budget_s=20, scenarios={**Serving().scenarios, **weighted}))

    async def slates() -> list[list[str]]:
        return [
            [i.item_id for i in (await world.gateway.recommend(RecQuery(user_id=f"u{n}", k=10))).items]
            for n in range(20)
        ]

    await world.gateway.record([event(f"u{n}", f"sea-{n}") for n in range(20)])
    before, entered, finished = await slates(), threading.Event(), threading.Event()

    def measure(url: str) -> None:
        for number in range(2):
            with running_experiments(number, url):
                entered.set()
                assert finished.wait(20)

    async with served(make_api(world.gateway, Gate(), Traces("r"))) as url:
        measuring = asyncio.create_task(asyncio.to_thread(measure, url))
        assert await asyncio.to_thread(entered.wait, 20)
        running = [record.experiment["name"] for record in await world.gateway.experiments.all()]
        assert sorted(running) == ["home_twice_0", "similar_twice_0"]
        scenarios = with_variants(world.gateway.settings).scenarios
        for name, given in weighted.items():
            assert given.weights
            assert scenarios[f"{name}:twice"].weights == {
                signal: 2 * weight for signal, weight in given.weights.items()
            }
        assert await slates() == before
        finished.set()
        await measuring
    assert all(record.ended_at for record in await world.gateway.experiments.all())


async def test_a_viewer_follows_the_stream_and_asks_again_when_it_ends() -> None:
    """As many as are wanted, each with a stream of its own."""
    asked: list[bytes] = []
    enough = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n")
        writer.close()
        if len(asked) == 10:
            enough.set()

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    watching = asyncio.create_task(watch(f"http://127.0.0.1:{port}", 3))
    await asyncio.wait_for(enough.wait(), 60)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    server.close()
    await server.wait_closed()
    for _ in range(10):
        await asyncio.sleep(0.005)  # connections that were cut are closed in a later turn
    assert all(one.startswith(b"GET /v1/live HTTP/1.1\r\n") for one in asked)
