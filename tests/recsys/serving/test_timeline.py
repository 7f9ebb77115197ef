"""Windows of replicas, and the points that are summed up of them."""

from __future__ import annotations

import pytest

from recsys.serving.timeline import Timeline, quantile
from recsys.serving.window_meter import WindowMeter, WindowWriter
from recsys.state import replica_windows
from recsys.telemetry import SECONDS, SILENT


async def test_a_window_goes_through_redis_unchanged(redis):
    meter = WindowMeter(SILENT)
    meter.add("recsys_slates_total", 3)
    meter.observe("recsys_answer_seconds", 0.004, queue="recommend")
    meter.observe("recsys_answer_seconds", 99.0, queue="recommend")
    meter.set("recsys_memory_bytes", 2.0**20)
    window = meter.window("Composer", 1, 2.0)
    await replica_windows.write(redis, "c1", window)
    assert await replica_windows.read(redis) == {"c1": window}
    assert window.counts == {"recsys_slates_total": 3}
    assert window.buckets == {"recsys_answer_seconds|recommend": {4: 1, len(SECONDS): 1}}


async def test_what_was_told_in_one_window_is_not_in_the_next(redis):
    meter = WindowMeter(SILENT)
    meter.add("recsys_slates_total", 3)
    meter.set("recsys_busy_ratio", 0.5)
    meter.window("Composer", 1, 2.0)
    following = meter.window("Composer", 2, 2.0)
    assert following.counts == {}
    assert following.gauges == {"recsys_busy_ratio": 0.5}


async def test_a_point_sums_up_all_replicas(redis):
    timeline = Timeline(redis)
    for name, deployment, busy in (("c1", "Composer", 0.2), ("c2", "Composer", 0.4), ("s1", "shard-0", 0.9)):
        meter = WindowMeter(SILENT)
        meter.set("recsys_busy_ratio", busy)
        meter.set("recsys_memory_bytes", 100)
        meter.set("recsys_recall_ratio", 1 - busy / 10, shape="none")
        await replica_windows.write(redis, name, meter.window(deployment, 1, 2.0))
    await timeline.step()
    point = timeline.points[-1]
    assert point["busy"] == {"Composer": pytest.approx(0.3), "shard-0": 0.9}
    assert point["memory"] == 300
    assert point["gauges"]["recall_ratio|none"] == pytest.approx(0.91)


async def test_rates_are_a_second(redis):
    meter = WindowMeter(SILENT)
    meter.add("recsys_slates_total", 30)
    await replica_windows.write(redis, "c1", meter.window("Composer", 1, 2.0))
    timeline = Timeline(redis)
    await timeline.step()
    assert timeline.points[-1]["rates"] == {"slates_total": 15}


async def test_a_replica_that_says_nothing_new_counts_no_more(redis, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    timeline = Timeline(redis)
    writer = WindowWriter(redis, "shard-0", "r1", WindowMeter(SILENT))
    await writer.step()
    await timeline.step()
    assert set(timeline.replicas) == {"r1"}
    now[0] += 60
    await timeline.step()
    assert timeline.replicas == {}
    now[0] += 120
    await timeline.step()
    assert await replica_windows.read(redis) == {}


async def test_a_replica_that_leaves_is_gone_at_once(redis):
    writer = WindowWriter(redis, "shard-0", "r1", WindowMeter(SILENT))
    await writer.step()
    await writer.leave()
    assert await replica_windows.read(redis) == {}


async def test_the_record_of_another_release_is_left_out(redis):
    await redis.hset(replica_windows.KEY, "old", b'{"of": "old"}')
    assert await replica_windows.read(redis) == {}


@pytest.mark.parametrize(
    ("bucket", "share", "expected"), [({}, 0.5, 0.0), ({0: 10}, 0.5, 0.5), ({1: 4}, 1.0, 2.0), ({9: 1}, 0.5, 4.0)]
)
def test_a_quantile_lies_within_its_bucket(bucket, share, expected):
    assert quantile((1.0, 2.0, 4.0), {min(k, 3): v for k, v in bucket.items()}, share) == expected
