"""Batch jobs on the cluster of the platform, by its address: encoding with the real model, shards as tasks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from recsys.data.parquet_folders import files_of
from tests.support.live import COMMAND, REPOSITORY, Live, local_config, recsys

pytestmark = pytest.mark.cluster
SPARK = REPOSITORY / "tests" / "support" / "spark" / "films"


def test_the_platforms_own_ray_encodes_beside_serving(live: Live, tmp_path: Path) -> None:
    """Its vectors are those that were made of the same texts when PySpark wrote them."""
    address = f"127.0.0.1:{live.instance.ports.gcs}"
    done = orjson.loads(live.recsys("embed", SPARK, "--out", tmp_path, "--workers", 1, "--address", address, "--json"))
    assert (done["items"], done["encoded"], done["kept"], done["workers"]) == (60, 60, 0, 1)
    made = {row["item_id"]: row["vector"] for path in files_of([tmp_path]) for row in pq.read_table(path).to_pylist()}
    given = {str(row["item_id"]): row["vector"] for row in pq.read_table(SPARK).to_pylist()}
    assert made.keys() == given.keys()
    assert np.mean([np.dot(made[name], given[name]) for name in made]) > 0.99
    assert live.recommend("196", k=3)


def test_shards_are_indexed_by_tasks_of_another_cluster(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the config file's folder knows nothing of: its token comes from Ray's own variables."""
    hashing = {"kind": "hashing", "dimension": 16}
    config = local_config(tmp_path / "config.yaml", data_dir=str(tmp_path / "var"), encoder=hashing, shards=3)
    address = f"127.0.0.1:{live.instance.ports.gcs}"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(live.instance.token_file))
    built = orjson.loads(recsys(config, "build", live.data.items_file, "--address", address, "--json"))
    assert (built["items"], built["shards"]) == (live.data.items, 3)
    assert built["recall_at_10"] >= 0.95

    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(config))  # no token at all
    command = [*COMMAND, "build", str(live.data.items_file), "--address", address, "--config", str(config)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"the Ray at {address} cannot be reached" in done.stderr
