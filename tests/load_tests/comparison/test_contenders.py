"""What `make compare` measures the platform with beside itself: experiments and viewers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.machine.serve_config import read_for_serve
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.contenders import contenders
from load_tests.comparison.viewers import watch
from load_tests.comparison.workload import Workload
from recsys.ranking.variants import with_variants


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Workload(), tmp_path, ROOT / "configs" / "benchmark.yaml")


def names(bench: Bench, only: list[str], **more: Any) -> list[str]:
    return [contender.name for contender in contenders(bench, only, **more)]


def test_experiments_and_viewers_are_measured_where_they_are_asked_for(bench: Bench) -> None:
    """Beside the platform without them, so that both are measured in the same rounds."""
    assert names(bench, ["recsys"]) == ["recsys"]
    more = {"experiments": True, "viewers": 10}
    assert names(bench, ["recsys"], **more) == ["recsys", "recsys-experiments", "recsys-viewers"]
    assert names(bench, ["recsys-viewers"], **more) == ["recsys-viewers"]


def test_the_two_experiments_are_valid_and_change_no_order(bench: Bench, tmp_path: Path) -> None:
    """The variants are scenarios of their own, whose weights are those of the control times a number."""
    [contender] = contenders(bench, ["recsys-experiments"], experiments=True)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(contender.config(bench)))
    served = with_variants(read_for_serve(file).serving).scenarios
    assert {name: served[name].experiment.name for name in ("home", "similar")} == {
        "home": "home_twice",
        "similar": "similar_twice",
    }
    for name in ("home", "similar"):
        own, twice = served[name].weights, served[f"{name}:twice"].weights
        assert twice == {signal: 2 * weight for signal, weight in own.items()}
        assert any(own.values())


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
    await asyncio.wait_for(enough.wait(), 20)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.05)  # connections that were cut are closed in a later turn
    assert all(one.startswith(b"GET /v1/live HTTP/1.1\r\n") for one in asked)
