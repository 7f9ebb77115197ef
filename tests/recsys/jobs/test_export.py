"""What a platform knows, as Parquet for others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recsys.data.parquet_folders import files_of
from recsys.datatypes import Item
from recsys.errors import BackupError
from recsys.jobs.export import export
from recsys.reading.vector_files import read_vectors
from recsys.state.item_log import ItemLog, Upsert
from tests.support.world import DIMENSION, NOW, World, event


@pytest.fixture
async def world(make_world: Callable[..., Any], tmp_path: Path) -> World:
    home = tmp_path / "home"
    world = await make_world(
        root=home / "versions", data_dir=home, user_attributes={"country": "keyword", "born": "date"}
    )
    await world.gateway.record([event("ann", "sea-1", timestamp=NOW, value=4.5), event("bob", "sea-2", timestamp=NOW)])
    await world.gateway.record([event("ann", "sea-3", timestamp=NOW - 1, request_id="r1"), event("zoe", "sea-1")])
    await world.gateway.user_records.describe("ann", {"country": "IT", "born": 0.0}, (), whole=True)
    await world.gateway.user_records.describe("dan", {"country": "DE"}, (), whole=True)
    await world.gateway.user_records.describe("zoe", {"country": "FR"}, (), whole=True)
    changed = Item("sea-1", "changed", "wave", {"topic": "sea", "tags": ["a", "b"], "number": 1.5}, NOW + 0.25, True)
    await world.gateway.items.upsert([changed, Item("new", "new", "", {}, None)], wait_visible=True)
    await world.gateway.items.delete("sea-5", wait_visible=True)
    await world.gateway.user_records.erase("zoe")
    return world


def world_url(world: World) -> str:
    return f"unix://{world.redis.connection_pool.connection_kwargs['path']}"


async def test_pandas_reads_it_and_what_was_erased_is_not_in_it(world: World, tmp_path: Path) -> None:
    done = await export(world.platform, world_url(world), str(tmp_path / "out"))
    assert (done.items, done.users, done.events) == (48, 3, 3)
    assert done.version == world.store.current()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"items", "users", "events"}
    events = pd.read_parquet(tmp_path / "out" / "events")
    assert list(events.user_id) == ["ann", "ann", "bob"]
    assert list(events.item_id) == ["sea-3", "sea-1", "sea-2"]
    assert list(events.request_id.fillna("")) == ["r1", "", ""]
    assert events.value[1] == 4.5
    assert events.timestamp[1] == pd.Timestamp(NOW, unit="s", tz="UTC")
    users = pd.read_parquet(tmp_path / "out" / "users").set_index("user_id")
    assert dict(users.events) == {"ann": 2, "bob": 1, "dan": 0}
    assert users.attributes["ann"] == {"country": "IT", "born": pd.Timestamp(0, tz="UTC")}
    items = pd.read_parquet(tmp_path / "out" / "items").set_index("item_id")
    assert "sea-5" not in items.index
    assert items.title["sea-1"] == "changed"
    assert items.attributes["sea-1"]["number"] == 1.5
    for path in files_of([tmp_path / "out" / name for name in ("items", "users", "events")]):
        assert b"zoe" not in b"".join(str(row).encode() for row in pq.read_table(path).to_pylist())


async def test_the_vectors_are_those_that_are_served(world: World, tmp_path: Path) -> None:
    await export(world.platform, world_url(world), str(tmp_path / "out"))
    supplied = read_vectors([tmp_path / "out" / "items"], DIMENSION)
    assert len(supplied.vectors) == 48
    texts = {item.item_id: item.passage() for item in world.items} | {"sea-1": "changed. wave", "new": "new"}
    ids = sorted(supplied.vectors)
    expected = await world.encode(world.follower.serve.version, [texts[i] for i in ids])
    np.testing.assert_allclose([supplied.vectors[i] for i in ids], expected, atol=1e-6)


async def test_items_of_another_encoder_have_no_vector(world: World, tmp_path: Path) -> None:
    """They stand in files without the column, and `recsys build` encodes them."""
    change = Upsert(Item("other", "other", "", {}, None), np.zeros(DIMENSION, np.float32), "another encoder")
    await ItemLog(world.redis).append([(0, change)])
    await export(world.platform, world_url(world), str(tmp_path / "out"))
    assert "other" not in read_vectors([tmp_path / "out" / "items"], DIMENSION).vectors
    assert "other" in set(pd.read_parquet(tmp_path / "out" / "items").item_id)


async def test_a_place_that_is_not_empty_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="holds something already"):
        await export(world.platform, world_url(world), str(tmp_path))


async def test_it_goes_to_an_object_store_as_well(world: World) -> None:
    url = f"memory://{uuid4().hex}"
    await export(world.platform, world_url(world), url)
    with fsspec.open(f"{url}/events/part-00000.parquet") as file:
        assert len(pq.read_table(file)) == 3
    assert fsspec.filesystem("memory").exists(f"{url}/items/_SUCCESS")


async def test_of_a_platform_that_was_never_used(tmp_path: Path, world: World) -> None:
    platform = world.platform.model_copy(update={"data_dir": tmp_path / "unused"})
    done = await export(platform, None, str(tmp_path / "out"))
    assert (done.version, done.items, done.users, done.events) == (None, 0, 0, 0)
