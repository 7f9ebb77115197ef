"""The short way of calls of one item, as that of events in `short_events.py`: to read it, to delete it, and what is
similar to it.

Only what is right goes this way: an id, and for similar items their number alone. FastAPI judges all else.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from deployments.api.parsing import id_adapter, path_id
from recsys.errors import BadInput

OfItem = Callable[[str], Awaitable[Response]]
Similar = Callable[..., Awaitable[Response]]
"""Takes the request, the item's id, and `k`."""

_ITEM = re.compile(r"/v1/items/([^/]+)(/similar)?")
_COUNT = re.compile(rb"k=([1-9][0-9]{0,5})")


class ShortItems:
    """Each argument is the endpoint of a call, which FastAPI has as well."""

    def __init__(self, read: OfItem, delete: OfItem, similar: Similar) -> None:
        self._of_item = {"GET": read, "DELETE": delete}
        self._similar = similar
        self._ids = id_adapter()

    def asked(self, request: Request, path: str) -> Awaitable[Response] | None:
        """The answer, or None where FastAPI is to judge the request."""
        method, query = request.scope["method"], request.scope["query_string"]
        found = _ITEM.fullmatch(path) if method in self._of_item else None
        if found is None:
            return None
        part, similar = found.groups()
        if similar and method != "GET":
            return None
        count = _COUNT.fullmatch(query) if similar else None
        if query and count is None:
            return None
        try:
            item_id = path_id(part, "item_id", self._ids)
        except BadInput:
            return None
        if not similar:
            return self._of_item[method](item_id)
        return self._similar(request, item_id) if count is None else self._similar(request, item_id, int(count[1]))
