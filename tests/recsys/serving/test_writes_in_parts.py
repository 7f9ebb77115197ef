"""A call of many texts, which are written part by part while the next ones are encoded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from recsys.datatypes import Floats, Item
from recsys.errors import BadInput, NotFound, Overloaded, RecsysError, Unavailable
from tests.support.world import World, eventually

ITEMS = [Item(f"new-{n}", f"harbour {n}", "wave sail", {"topic": "sea"}) for n in range(300)]


class Encoder:
    """A world's, of which texts of the last items wait for `free`, and fail with `error` then."""

    def __init__(self, world: World) -> None:
        self._encode = world.encode
        world.encode = self  # type: ignore[assignment]
        self.free = asyncio.Event()
        self.error: Exception | None = None
        self.cancelled = 0

    async def __call__(self, version: str, texts: Sequence[str]) -> Floats:
        if ITEMS[-1].passage() in texts:
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            if self.error is not None:
                raise self.error
        return await self._encode(version, texts)


async def there(world: World, item: Item) -> bool:
    try:
        return await world.gateway.items.item(item.item_id) == item
    except NotFound:
        return False


async def test_the_first_items_are_there_while_the_last_are_encoded(make_world):
    """Nothing is acknowledged before all of it is written, and every outcome is told in the order of the items."""
    world = await make_world()
    encoder = Encoder(world)
    call = asyncio.create_task(world.gateway.items.upsert(ITEMS, wait_visible=True))
    assert await eventually(lambda: there(world, ITEMS[0]))
    assert not await there(world, ITEMS[-1])
    assert not call.done()
    encoder.free.set()
    written = await call
    assert [(one.item_id, one.visible) for one in written] == [(item.item_id, True) for item in ITEMS]
    assert all([await there(world, item) for item in ITEMS[::37]])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("out of memory"), Unavailable),
        (Overloaded("a queue is full"), Overloaded),
        (BadInput("text: the encoder cannot read it", field="text"), BadInput),
    ],
)
async def test_an_error_in_the_middle_says_what_was_written(make_world, error, kind):
    """The same call can be made again, and then all of it is there."""
    world = await make_world()
    encoder = Encoder(world)
    encoder.error = error
    encoder.free.set()
    with pytest.raises(RecsysError, match="of the 300 items the first 200 were written before") as raised:
        await world.gateway.items.upsert(ITEMS, wait_visible=False)
    assert type(raised.value) is kind
    assert getattr(raised.value, "field", None) == getattr(error, "field", None)
    assert await eventually(lambda: there(world, ITEMS[199]))
    assert not await there(world, ITEMS[200])
    encoder.error = None
    assert {one.visible for one in await world.gateway.items.upsert(ITEMS, wait_visible=True)} == {True}
    assert await there(world, ITEMS[-1])


async def test_an_error_of_the_first_part_says_nothing_of_others(make_world):
    world = await make_world()
    world.encoder_down = True
    with pytest.raises(Unavailable, match=r"^no encoder answers; try again$"):
        await world.gateway.items.upsert(ITEMS, wait_visible=False)
    assert not await there(world, ITEMS[0])


async def test_nothing_more_is_encoded_for_a_caller_who_has_gone(make_world):
    world = await make_world()
    encoder = Encoder(world)
    call = asyncio.create_task(world.gateway.items.upsert(ITEMS, wait_visible=True))
    assert await eventually(lambda: there(world, ITEMS[0]))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert encoder.cancelled == 1
