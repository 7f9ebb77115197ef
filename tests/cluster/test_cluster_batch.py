"""A batch job on the cluster of the platform, by its address: encoding with the real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from recsys.data.parquet_folders import files_of
from tests.support.live import REPOSITORY, Live

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
