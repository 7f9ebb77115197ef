"""How a composer follows the versions: it serves a new one once every shard replica holds it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.errors import VersionError
from recsys.membership import Member, Members, furthest, ready
from recsys.serving import Serve
from recsys.versions import Manifest, VersionStore

_FOLLOW_S = 0.25

log = logging.getLogger(__name__)


class VersionFollower:
    """`serve` is read once a batch; it changes between batches, never within one."""

    def __init__(self, composer_id: str, store: VersionStore, redis: Redis, shards: int) -> None:
        self._store = store
        self._members = Members(redis)
        self._member = Member(role="composer", id=composer_id)
        self._shards = shards
        self._manifest: Manifest | None = None
        self._serve: Serve | None = None
        self._task: asyncio.Task[None] | None = None
        self._reached: Mapping[int, str] = {}
        """How far any replica had applied the log at the last look; by the next all of them should have."""
        self.members: Sequence[Member] = ()
        """Replicas heard of lately."""

    @property
    def serve(self) -> Serve:
        """Raises VersionError before the first version is ready."""
        if self._serve is None:
            raise VersionError("no version is ready yet; try again in a moment")
        return self._serve

    @property
    def manifest(self) -> Manifest | None:
        return self._manifest

    async def start(self, patience_s: float) -> None:
        """Wait for the shards to hold the current version; then go on following in the background.

        After `patience_s` seconds the current version is served all the same: a shard that is still missing is said so
        in every answer.
        """
        deadline = asyncio.get_running_loop().time() + patience_s
        await self._step()
        while self._serve is None and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_FOLLOW_S)
            await self._step()
        if self._serve is None:
            await self._switch(await asyncio.to_thread(self._store.current))
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):  # then it is struck off for its silence
            await self._members.leave(self._member)

    def healthy(self) -> bool:
        return self._task is not None and not self._task.done()

    async def refresh(self) -> Sequence[Member]:
        """The replicas as they are now."""
        self.members = await self._members.all()
        return self.members

    async def _forever(self) -> None:
        task = asyncio.current_task()
        while task is not None and not task.cancelling():  # see `replica._forever`
            await asyncio.sleep(_FOLLOW_S)
            await self._step()

    async def _step(self) -> None:
        try:
            current = await asyncio.to_thread(self._store.current)
            members = await self.refresh()
            reached, self._reached = self._reached, furthest(members)
            served = self._serve.version if self._serve else None
            if current and current != served and ready(members, current, self._shards, reached):
                await self._switch(current)
            await self._members.say(self._member)
        except (RedisError, OSError, VersionError) as error:
            log.warning("following versions: %s; trying again", error)

    async def _switch(self, version: str | None) -> None:
        if version is None:
            raise VersionError("no version is promoted; `recsys build` and `recsys promote` make one")
        serve = await asyncio.to_thread(self._store.serve, version)
        self._manifest = await asyncio.to_thread(self._store.manifest, version)
        self._serve = serve
        self._member = self._member.model_copy(update={"serving": version})
        log.info("serving version %s", version)
