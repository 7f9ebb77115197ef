"""Items that a call inserts or replaces: checked some at a time, so that reads go on in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from recsys.data.given_vectors import VECTOR, check_length
from recsys.data.records import Refused, WholeItem, item_of, validate_each
from recsys.data.validation import check_item
from recsys.datatypes import Item
from recsys.errors import Conflict
from recsys.serving.gateway import Gateway
from recsys.serving.item_calls import Written

_TOGETHER = 16
"""Items between two turns of the event loop: a third of a millisecond, and almost one where they bring vectors. A read
takes several turns, and waits for such a piece in each."""

Checked = Sequence[tuple[int, WholeItem]]
"""Items with their positions in the call."""


async def checked_items(raw: Sequence[object], gateway: Gateway) -> tuple[Checked, list[Refused]]:
    """Return what can be written of a call, and why the rest can not. Vectors are taken out of `raw`."""
    declared, limits, now = gateway.platform.attributes, gateway.settings.limits, time.time()
    good: list[tuple[int, WholeItem]] = []
    refused: list[Refused] = []

    def check(item: WholeItem) -> WholeItem:
        if item.vector is not None:
            check_length(item.vector, gateway.items.vector_length)
        return check_item(item, declared, limits, now)

    for start in range(0, len(raw), _TOGETHER):
        if start:
            await asyncio.sleep(0)
        given = raw[start : start + _TOGETHER]
        some, wrong = validate_each(WholeItem, given, check)
        _forget_vectors(given)
        good += [(start + index, item) for index, item in some]
        refused += [replace(one, index=start + one.index) for one in wrong]
    return good, refused


def _forget_vectors(given: Sequence[object]) -> None:
    """A thousand vectors as numbers of Python go now and not all at once when the call ends, which takes 4 ms."""
    for one in given:
        if isinstance(one, dict):
            one.pop(VECTOR, None)


async def upserted(
    good: Checked, gateway: Gateway, *, wait_visible: bool, version: int | None
) -> list[Written | Conflict]:
    """Write the items, and return the outcome of each. See `ItemCalls.upsert`."""
    items: list[Item] = []
    for start in range(0, len(good), _TOGETHER):
        if start:
            await asyncio.sleep(0)
        items += [item_of(item) for _, item in good[start : start + _TOGETHER]]
    given = {place: item.vector for place, (_, item) in enumerate(good) if item.vector is not None}
    return await gateway.items.upsert(items, wait_visible=wait_visible, version=version, given=given)
