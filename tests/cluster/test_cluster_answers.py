"""Recommendations for all users of the real platform, on a Ray of their own: killed, gone on with, and read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from deployments.machine.instance import instance_id
from deployments.machine.processes import instance_processes
from recsys.data.parquet_folders import files_of
from tests.support.live import COMMAND, REPOSITORY, Live, eventually, refused_here

pytestmark = pytest.mark.cluster


def test_all_users_are_answered_beside_the_composers(live: Live, tmp_path: Path) -> None:
    """kill -9 takes the command while chunks are being made; the same command goes on, and each user has one row."""
    out = tmp_path / "email"
    arguments = ("batch", "--scenario", "home", "--k", "5", "--out", str(out), "--workers", "1", "--json")
    planned = orjson.loads(live.recsys(*arguments, "--dry-run"))
    assert planned["dry_run"] is True
    assert planned["users"] > 900
    assert not out.exists()
    command = [*COMMAND, *arguments, "--config", str(live.config)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        listed = out / ".making" / "asked.json"
        assert eventually(lambda: listed.exists() or process.poll() is not None, 200, 0.1)
    finally:
        process.kill()
        process.wait()
    assert not (out / "_SUCCESS").exists()
    ray = instance_id(live.instance.home / "batch")
    assert eventually(lambda: not instance_processes(ray)), "Ray outlived the command"
    done = orjson.loads(live.recsys(*arguments))
    assert (done["degraded"], done["empty"], done["files"]) == (0, 0, len(list(out.glob("part-*.parquet"))))
    rows = pq.read_table(files_of([out])).to_pylist()
    assert len({row["user_id"] for row in rows}) == len(rows) == done["users"] >= planned["users"]
    assert {row["index_version"] for row in rows} == {live.status()["index_version"]}
    row = next(row for row in rows if row["user_id"] == "196")
    assert [item["item_id"] for item in row["items"]] == [item["item_id"] for item in live.recommend("196", k=5)]
    assert "complete run" in refused_here(live.config, *arguments)
