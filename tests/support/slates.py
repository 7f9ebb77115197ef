"""What tests say of slates, and wait for before they compare two of them."""

from __future__ import annotations

from typing import Any

from recsys.datatypes import Condition, Filter
from tests.support.world import eventually


def ids(slate) -> list[str]:
    return [r.item_id for r in slate.items]


def only(topic: str) -> Filter:
    return Filter(must=(Condition("topic", "any", (topic,)),))


async def counted(http: Any, *item_ids: str) -> None:
    """Wait until the shards have counted the likes of these items: until then they move up in everybody's slates."""

    async def popular() -> bool:
        query = {"items": list(item_ids), "explain": True}
        ranked = (await http.post("/v1/rank", json=query)).json()["items"]
        return all(item["signals"]["popularity"] > 0 for item in ranked)

    assert await eventually(popular)
