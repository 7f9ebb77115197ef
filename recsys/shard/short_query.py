"""A question that leaves out what its shard was told, see `told_profiles.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recsys.shard.candidates import ShardQuery


class ShortQuery:
    """Stands for the whole question, which is made only where somebody looks at it: who can ask a shard once more sends
    `short` first.
    """

    __slots__ = ("_make", "_whole", "filters", "short", "version")

    def __init__(self, short: ShardQuery, make: Callable[[], ShardQuery]) -> None:
        self.short, self._make = short, make
        self.version, self.filters = short.version, short.filters
        self._whole: ShardQuery | None = None

    @property
    def whole(self) -> ShardQuery:
        """The same question with everything in it."""
        if self._whole is None:
            self._whole = self._make()
        return self._whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self.whole,)


def _itself(query: ShardQuery) -> ShardQuery:
    return query
