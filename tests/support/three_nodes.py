"""A cluster of three machines on this one, for tests: see `load_tests/chaos/cluster_stage.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from load_tests.chaos.cluster_stage import ClusterStage
from load_tests.chaos.namespaces import Namespaces

ITEMS = 200


@contextmanager
def three_nodes(folder: Path) -> Iterator[ClusterStage]:
    """A cluster of three machines with 200 items, whose versions lie in an object store.

    The test is skipped where there are no network namespaces.
    """
    if lacking := Namespaces.lacking():
        pytest.skip(lacking)
    items = folder / "items.jsonl"
    items.write_bytes(b"\n".join(orjson.dumps({"item_id": str(n), "title": f"film {n}"}) for n in range(ITEMS)))
    stage = ClusterStage(folder / "cluster", items, apart=True)
    try:
        stage.up()
        yield stage
    finally:
        stage.down()
