"""Bodies of many items, parsed some at a time: with vectors they are five megabytes, and reads go on in between."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

LONG = 1 << 18
"""Bytes from which on a body is parsed in parts: about a millisecond in one piece."""
_TOGETHER = 50
"""Items between two turns of the event loop: about a millisecond where they bring vectors."""


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/items`, each item as its bytes."""

    items: list[msgspec.Raw]


_items = msgspec.json.Decoder(_Items)


async def parsed_in_parts(body: bytes) -> dict[str, Any] | None:
    """A body of items alone. None: it is another one, or no JSON."""
    try:
        raw, parsed = _items.decode(body).items, []
        for start in range(0, len(raw), _TOGETHER):
            await asyncio.sleep(0)
            parsed += [msgspec.json.decode(one) for one in raw[start : start + _TOGETHER]]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return {"items": parsed}
