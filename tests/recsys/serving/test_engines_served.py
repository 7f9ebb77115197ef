"""Every engine behind the whole path: a new item is found at once, and a deleted one never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsys.config.index import IndexSpec, engine_names
from recsys.datatypes import Item, RecQuery
from recsys.tuning.probe_queries import probe_queries
from tests.support.world import DIMENSION, catalogue

KINDS = [*engine_names(), "faiss:IVF4,Flat", "faiss:IVF4,SQ8"]


@pytest.mark.parametrize("name", KINDS)
async def test_what_comes_and_goes_is_served_by_every_engine(make_world, open_engine, monkeypatch, name):
    """An item that was just put is the first answer to its own text, one that was just deleted is none, and of two
    writes of an item the last counts.
    """
    monkeypatch.setattr(probe_queries, "__defaults__", (20, 7))  # each is a call to a server, or several
    open_engine(name, DIMENSION)
    spec = IndexSpec.of(name)
    patient = {"timeout_s": 20} if spec.server else {}  # no server is late because the machine has other work
    shards = 1 if spec.server else 2  # each is measured with hundreds of calls to the server
    world = await make_world(index=IndexSpec.of(name, **patient), items=catalogue(100), shards=shards)
    item = Item("new", "a lighthouse keeper", "alone with a robot in a lighthouse at the edge of the world")

    async def answers(text: str) -> list[str]:
        return [r.item_id for r in (await world.gateway.search(text, RecQuery(k=5, scenario="search"))).items]

    await world.gateway.items.upsert([item], wait_visible=True)
    assert (await answers(item.passage()))[0] == "new"
    await world.gateway.items.upsert([replace(item, text="a violin that nobody plays", title="")], wait_visible=True)
    assert (await answers("a violin that nobody plays"))[0] == "new"
    for gone in ("new", "sea-0", "sea-1"):
        await world.gateway.items.delete(gone, wait_visible=True)
    for text in ("a violin that nobody plays", item.passage(), catalogue(100)[0].passage()):
        assert not {"new", "sea-0", "sea-1"} & set(await answers(text))
    slate = await world.gateway.recommend(RecQuery(k=20, user_id="somebody"))
    assert slate.degraded == ()
    assert len(slate.items) == 20
