"""The stream of the platform's state: one composition for all viewers, and points that are not told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from redis.exceptions import RedisError

from deployments.api import live
from deployments.api.live import Frames, stream
from recsys.access.gate import Gate
from recsys.serving.timeline import REST_S
from recsys.serving.window_meter import WindowMeter, WindowWriter
from recsys.telemetry import SILENT
from tests.support.silent_server import silent_server


@pytest.fixture(autouse=True)
def no_dashboard(monkeypatch):
    """Whatever runs on this machine is not asked."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "none")
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", "http://127.0.0.1:1")


@pytest.fixture
async def hanging() -> AsyncIterator[str]:
    async with silent_server() as address:
        yield f"http://{address}"


@pytest.fixture
async def world(make_world):
    return await make_world(shards=1, telemetry=WindowMeter(SILENT))


def parsed(frame: bytes) -> dict:
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    return orjson.loads(frame[6:])


async def test_a_frame_is_composed_once_whatever_the_number_of_viewers(world, tmp_path):
    timeline = world.gateway.timeline
    frames = Frames(world.gateway, Gate(), Path(tmp_path))
    viewers = [stream(timeline, frames, 0.0) for _ in range(10)]
    first = [parsed(await anext(viewer)) for viewer in viewers]
    assert frames.composed == 1
    assert timeline.watching == 10
    waiting = [asyncio.ensure_future(anext(viewer)) for viewer in viewers]
    await asyncio.sleep(0.05)
    await timeline.step()
    second = [parsed(frame) for frame in await asyncio.gather(*waiting)]
    assert frames.composed == 2
    assert {len(frame["points"]) for frame in first} == {0}
    assert {len(frame["points"]) for frame in second} == {1}
    for viewer in viewers:
        await viewer.aclose()
    assert timeline.watching == 0
    assert timeline.pause_s() == REST_S


async def test_who_comes_back_is_told_what_is_new_alone(world, tmp_path):
    timeline = world.gateway.timeline
    frames = Frames(world.gateway, Gate(), Path(tmp_path))
    for _ in range(3):
        await timeline.step()
        await asyncio.sleep(0.02)
    last = timeline.points[-1]["at"]
    viewer = stream(timeline, frames, timeline.points[0]["at"])
    assert [point["at"] for point in parsed(await anext(viewer))["points"]][-1] == last
    await viewer.aclose()
    viewer = stream(timeline, frames, last)
    assert parsed(await anext(viewer))["points"] == []
    await viewer.aclose()


async def test_a_frame_has_the_status_and_what_replicas_measured(world, redis, tmp_path):
    meter = WindowMeter(SILENT)
    meter.set("recsys_busy_ratio", 0.25)
    await WindowWriter(redis, "shard-0", "r0", meter).step()
    await world.gateway.timeline.step()
    viewer = stream(world.gateway.timeline, Frames(world.gateway, Gate(), Path(tmp_path)), 0.0)
    frame = parsed(await anext(viewer))
    assert frame["status"]["items"] == len(world.items)
    [replica] = frame["replicas"]
    assert (replica["deployment"], replica["busy_ratio"]) == ("shard-0", 0.25)
    assert frame["points"][-1]["busy"] == {"shard-0": 0.25}
    await viewer.aclose()


async def test_without_redis_the_stream_goes_on_with_what_is_known(own_redis, own_valkey, make_world, tmp_path):
    world = await make_world(redis=own_redis, shards=1)
    viewer = stream(world.gateway.timeline, Frames(world.gateway, Gate(), Path(tmp_path)), 0.0)
    await anext(viewer)
    own_valkey.stop()
    waiting = asyncio.ensure_future(anext(viewer))
    await asyncio.sleep(0.05)
    with pytest.raises(RedisError):
        await world.gateway.timeline.step()
    assert parsed(await waiting)["status"]["degraded"] == ["redis"]
    await viewer.aclose()


async def test_a_dashboard_that_hangs_holds_up_neither_a_frame_nor_a_thread(world, hanging, tmp_path, monkeypatch):
    """The frame says that there is no word of the deployments; the thread that asked has given up."""
    monkeypatch.setattr(live, "ANSWERED_WITHIN_S", 0.2)
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", hanging)
    viewer = stream(world.gateway.timeline, Frames(world.gateway, Gate(), Path(tmp_path)), 0.0)
    frame = parsed(await anext(viewer))
    assert frame["deployments"] is None
    assert "does not answer" in frame["no_deployments"]
    await viewer.aclose()
    async with asyncio.timeout(20):  # it waits for the loop's threads
        await asyncio.get_running_loop().shutdown_default_executor()
