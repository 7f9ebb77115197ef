"""What is live becomes a version, unless hardly anything is left of it."""

from __future__ import annotations

import pytest

from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.errors import VersionError
from recsys.jobs.compact import compact, foreseen
from tests.support.own_valkey import Valkey
from tests.support.world import World, catalogue


@pytest.fixture
async def shrunken(make_world, tmp_path, shared_valkey) -> tuple[World, Config]:
    """A platform of 20 items, of which all but three were deleted over HTTP."""
    world: World = await make_world(root=tmp_path / "versions", items=catalogue(5), shards=1)
    for item in world.items[3:]:
        await world.gateway.items.delete(item.item_id, wait_visible=True)
    platform = world.platform.model_copy(update={"data_dir": tmp_path})
    return world, Config(platform, Serving(), ShardTuning())


async def test_a_rebuild_of_hardly_anything_is_not_served(shrunken, shared_valkey: Valkey) -> None:
    """As the schedule calls it: told before anything is built, and what is served stays. By hand it can be insisted on,
    and without a promotion it is built.
    """
    world, config = shrunken
    served = world.store.current()
    with pytest.raises(VersionError, match=f"shrink to 3 items, and {served}, .* has 20: .*--allow-shrink"):
        await compact(config, shared_valkey.url, then_promote=True)
    assert [m.version for m in world.store.versions()] == [served]
    waiting = await compact(config, shared_valkey.url, then_promote=False)
    assert (waiting.items, world.store.current()) == (3, served)
    insisted = await compact(config, shared_valkey.url, then_promote=True, allow_shrink=True)
    assert world.store.current() == insisted.version


async def test_what_a_rebuild_would_do(shrunken, shared_valkey: Valkey) -> None:
    """The same refusal, or what would be built; nothing is, and the next build takes the log as it is then."""
    world, config = shrunken
    served = world.store.current()
    with pytest.raises(VersionError, match="--allow-shrink"):
        await foreseen(config, shared_valkey.url, then_promote=True)
    planned = await foreseen(config, shared_valkey.url, then_promote=False)
    assert (planned.items, planned.texts, planned.served, planned.served_items) == (3, 0, served, 20)
    assert [m.version for m in world.store.versions()] == [served]
    await world.gateway.items.delete(world.items[0].item_id, wait_visible=True)
    assert (await foreseen(config, shared_valkey.url, then_promote=False)).items == 2


async def test_nothing_at_all_is_never_built(shrunken, shared_valkey: Valkey) -> None:
    """Whatever is said."""
    world, config = shrunken
    for item in world.items[:3]:
        await world.gateway.items.delete(item.item_id, wait_visible=True)
    with pytest.raises(VersionError, match="no item to serve"):
        await compact(config, shared_valkey.url, then_promote=False, allow_shrink=True)
