"""Bodies of many items, parsed some at a time: with vectors they are five megabytes, and reads go on in between."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

LONG = 1 << 18
"""Bytes from which on a body is parsed in parts: about a millisecond in one piece."""
_TOGETHER = 25
"""Items between two turns of the event loop: half a millisecond where they bring vectors."""

_BEGIN = re.compile(rb'\s*\{\s*"items"\s*:\s*\[')
_END = re.compile(rb"\s*\}\s*")
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/items`, each item as its bytes."""

    items: list[msgspec.Raw]


_items = msgspec.json.Decoder(_Items)


async def parsed_in_parts(body: bytes) -> dict[str, Any] | None:
    """A body of items alone. None: it is another one, or no JSON."""
    for parts in (_cut, _separated):
        parsed: list[Any] = []
        try:
            async for part in parts(body):
                parsed += part
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        return {"items": parsed}
    return None


async def _cut(body: bytes) -> AsyncIterator[list[Any]]:
    """Yield the items, cut at what looks like the place between the first two. A cut that is somewhere else, such as
    within a text, leaves two parts that are no JSON. Raises msgspec.DecodeError then.
    """
    begin, last = _BEGIN.match(body), body.rfind(b"]")
    if begin is None or not _END.fullmatch(body, last + 1):
        raise msgspec.DecodeError("no body of items alone")
    start, first = begin.end(), _BETWEEN.search(body, begin.end(), last)
    between = first[0] if first else b"},{"
    whole = bytearray(body)  # in which each part gets its brackets: a copy of each would take longer
    while start < last:
        end, items = start, 0
        while items < _TOGETHER and (end := body.find(b"}", end, last)) >= 0:
            items += body.startswith(between, end)
            end += 1
        end = end if end >= 0 else last
        whole[start - 1], whole[end] = b"[]"
        await asyncio.sleep(0)
        yield msgspec.json.decode(memoryview(whole)[start - 1 : end + 1])
        start = end + len(between) - 2


async def _separated(body: bytes) -> AsyncIterator[list[Any]]:
    """Yield the items, after a first look at all of the body."""
    raw = _items.decode(body).items
    for start in range(0, len(raw), _TOGETHER):
        await asyncio.sleep(0)
        yield [msgspec.json.decode(one) for one in raw[start : start + _TOGETHER]]
