"""A bound on calls that travel alone: no queue holds them, so no queue's length can refuse them."""

from __future__ import annotations

from recsys.errors import Overloaded


class CallLimit:
    """A context around each call. When `most` are under way already, entering it raises Overloaded, and `refused`
    counts the call.
    """

    __slots__ = ("_most", "_under_way", "refused")

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way = 0
        self.refused = 0

    def __enter__(self) -> None:
        if self._under_way >= self._most:
            self.refused += 1
            raise Overloaded(f"{self._most} calls of this kind are waiting already; try again in a second")
        self._under_way += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
