"""Learning anew on the real platform: by hand and unattended, from its own histories, compared, served, taken back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from deployments.machine.serve_config import read_for_serve
from recsys.state import redis_keys
from recsys.state.connection import connect
from tests.support.live import Live, eventually, recsys, recsys_here

pytestmark = pytest.mark.cluster

FEW = {"events": 4_000, "held_out": 0.3, "least_cases": 10, "margin": 1.0}
"""The newest events alone: seconds instead of a minute. Of so few what was learned may be worse than what is popular,
and with this margin it is published all the same: the gate has tests of its own."""


def with_retrain(live: Live, **rules: Any) -> dict[str, Any]:
    config = read_for_serve(live.config).document
    [application] = config["applications"]
    deployments = [
        d | {"user_config": d["user_config"] | {"retrain": rules}} if d["name"] == "Composer" else d
        for d in application["deployments"]
    ]
    return config | {"applications": [application | {"deployments": deployments}]}


def is_compared(comparison: dict[str, Any], before: str) -> None:
    assert (comparison["served_version"], comparison["publish"]) == (before, True)
    assert comparison["basis"] == "untrained"
    assert comparison["cases"] >= FEW["least_cases"]
    assert comparison["low"] <= comparison["gap"] <= comparison["high"]


def test_a_model_is_trained_compared_and_served_by_one_command(live: Live, tmp_path: Path) -> None:
    """And is taken back by another; what was compared stands with the version."""
    before = live.status()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(with_retrain(live, **FEW)))
    planned = orjson.loads(recsys_here(file, "train", "--if-better", "--dry-run", "--json"))
    assert (planned["dry_run"], planned["served"]) == (True, before["index_version"])
    assert planned["cases"] >= FEW["least_cases"]
    assert live.status()["index_version"] == before["index_version"]
    made = orjson.loads(recsys(file, "train", "--if-better", "--json"))
    assert made["serving"] is True
    is_compared(made["comparison"], before["index_version"])
    try:
        assert live.status()["index_version"] == made["version"]
        assert live.status()["model_version"].startswith("learned")
        assert len(live.recommend("1", k=10)) == 10
        [listed] = [v for v in orjson.loads(live.recsys("versions", "--json")) if v["version"] == made["version"]]
        assert listed["comparison"] == made["comparison"]
    finally:
        live.recsys("rollback")
    assert eventually(lambda: live.status()["index_version"] == before["index_version"])
    assert live.status()["model_version"] == before["model_version"]


async def overdue(url: str) -> None:
    """The last retraining was an hour ago."""
    async with connect(url, timeout_s=20) as redis:
        ago = repr(time.time() - 3600)
        await redis.hset(redis_keys.RETRAINING, mapping={"started": ago, "finished": ago})


def test_the_platform_learns_by_itself(live: Live) -> None:
    """By cron; the status tells what came of it, and one command takes it back."""
    before = live.status()["index_version"]
    asyncio.run(overdue(live.instance.redis_url))
    with live.rollout() as rollout:
        try:
            rollout.submit(with_retrain(live, cron="* * * * *", **FEW))
            assert eventually(lambda: "result" in (live.status()["last_retraining"] or {}), 240)
        finally:
            rollout.submit(read_for_serve(live.config).document)
    told = live.status()["last_retraining"]
    try:
        is_compared(told["comparison"], before)
        assert told["result"].startswith(f"serving {told['version']}: NDCG@10")
        assert eventually(lambda: live.status()["index_version"] == told["version"])
        assert len(live.recommend("1", k=10)) == 10
    finally:
        live.recsys("rollback")
    assert eventually(lambda: live.status()["index_version"] == before)
