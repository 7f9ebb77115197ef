"""What tests say of slates."""

from __future__ import annotations

from recsys.datatypes import Condition, Filter


def ids(slate) -> list[str]:
    return [r.item_id for r in slate.items]


def only(topic: str) -> Filter:
    return Filter(must=(Condition("topic", "any", (topic,)),))
