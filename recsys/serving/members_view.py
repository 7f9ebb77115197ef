"""The platform's members as a composer sees them: shard replicas and composers, from their presence records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.routing import Layout
from recsys.state.membership import ComposerMember, Group, Member, ShardMember, covered, ready
from recsys.state.presence import Presence

_WAITING_LOOK_S = 0.01
"""Seconds between two looks while a write waits to be visible."""


class MembersView:
    """`presence` has the composer's own record."""

    def __init__(self, redis: Redis, composer_id: str) -> None:
        self.presence = Presence(redis, ComposerMember(id=composer_id), (ShardMember, ComposerMember))
        self._looking: asyncio.Future[None] | None = None

    @property
    def group(self) -> Group:
        """The replicas of each shard, as of the last look."""
        return self.presence.group

    @property
    def all(self) -> Sequence[Member]:
        """The shard replicas and composers that are present."""
        return [*self.presence.members(ShardMember), *self.composers]

    @property
    def composers(self) -> Sequence[ComposerMember]:
        """The composers that are present. This one is missing until its own record has been read back."""
        return self.presence.members(ComposerMember)

    @property
    def composer_count(self) -> int:
        """The number of composers, this one included."""
        return max(1, len(self.composers))

    def replicas(self, shard: int) -> Sequence[ShardMember]:
        """Return the replicas of a shard. The object is the same until a look finds a change."""
        return self.group.get(shard, ())

    def covered(self, version: str, layout: Layout) -> int:
        """Return the number of the version's shards with a replica that holds it."""
        return covered(self.group, version, layout.router.shards)

    def ready(self, version: str, layout: Layout) -> bool:
        """Return whether every replica of every shard holds the version, however far it has applied its log."""
        return ready(self.group, version, layout, {})

    async def refresh(self) -> None:
        """Look at the presence records. Concurrent calls share one look. Raises RedisError or OSError."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self.presence.look())
        await asyncio.shield(self._looking)

    async def until(self, test: Callable[[Group], bool], within_s: float) -> bool:
        """Wait until the test of the shards' replicas is true. Return False after `within_s` seconds, or when Redis
        does not answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while loop.time() < deadline:
            try:
                await self.refresh()
            except (RedisError, OSError):
                return False
            if test(self.group):
                return True
            await asyncio.sleep(_WAITING_LOOK_S)
        return False

    async def leave(self) -> None:
        """Delete the composer's own record."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.presence.leave()
