"""The layouts that a composer writes items for, as it knows them; Redis refuses a write by what is outdated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from recsys.routing import Layout
from recsys.state.layouts import Layouts, ensure


class WrittenLayouts:
    """`promoted` returns the layout of the promoted version, as read last. Raises VersionError before it was read."""

    def __init__(self, redis: Redis, promoted: Callable[[], Layout]) -> None:
        self._redis = redis
        self._promoted = promoted
        self._known = Layouts("", ())

    @property
    def last(self) -> Sequence[Layout]:
        """The layouts, as of the last look."""
        return self._known.written

    async def read(self) -> Layouts:
        """As of the last look; the first call looks. Raises RedisError or OSError."""
        return self._known if self._known.epoch else await self.look()

    async def look(self) -> Layouts:
        """Read them anew. A Redis that has lost them, or is another one, is given the promoted version's."""
        layouts = await ensure(self._redis, self._promoted())
        if layouts != self._known:  # the same object as long as nothing has changed
            self._known = layouts
        return self._known
