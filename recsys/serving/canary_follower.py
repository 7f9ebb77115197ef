"""The version that a part of the users has beside the served one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.ranking.served_version import Serve
from recsys.serving.log_ends import in_log, new_ends
from recsys.serving.version_rejections import Rejections
from recsys.state.canary_record import CanaryRecord, CanaryRecords
from recsys.state.item_log import LogId
from recsys.state.membership import Group, furthest, ready
from recsys.statistics.splitting import point
from recsys.versions.fallbacks import Servable
from recsys.versions.manifest import Manifest

log = logging.getLogger(__name__)


class CanaryArm(NamedTuple):
    """The version that a part of the users has."""

    serve: Serve
    share: float

    def takes(self, user_id: str | None) -> bool:
        """Whether the user has it. Who has it keeps it while the share grows."""
        return user_id is not None and point(self.serve.version[:64], user_id) < self.share


class CanaryFollower:
    """`open_version` returns None where the version does not open."""

    def __init__(
        self,
        redis: Redis,
        servable: Servable,
        rejections: Rejections,
        open_version: Callable[[str], Awaitable[tuple[Serve, Manifest] | None]],
    ) -> None:
        self._redis = redis
        self._servable = servable
        self._rejections = rejections
        self._open = open_version
        self._records = CanaryRecords(redis)
        self.record: CanaryRecord | None = None
        """What goes out to a part of the users, as read last."""
        self._reached: Mapping[LogId, str] = {}
        """By log, the last entry that any replica had applied at the last look, as in `VersionFollower`."""

    async def follow(
        self, arm: CanaryArm | None, group: Group, served: Serve | None, promoted: Sequence[str]
    ) -> CanaryArm | None:
        """Hold the version that goes out beside the `served` one, once every shard has it; let it go when it ends.

        Return what is held from now on. `arm`: what is held now; `promoted`: as `VersionFollower` has them.
        """
        with contextlib.suppress(RedisError, OSError):  # then it stays as it is
            self.record = await self._records.read()
        record, base = self.record, served.version if served else None
        if record is None and _becomes_served(arm, group, base, promoted):
            return arm  # in a moment everybody has it: who has it now keeps it until the switch
        layout = None if record is None else await asyncio.to_thread(self._servable.layout, record.version)
        if record is None or layout is None or record.base != base or not ready(group, record.version, layout, {}):
            self._reached = {}
            return None
        if arm is not None and arm.serve.version == record.version:
            return arm._replace(share=record.share)
        now = furthest(group) | await new_ends(self._redis, served.layout if served else None, [layout])
        reached, self._reached = self._reached, now
        if not reached or self._rejections.resting(record.version):
            return arm
        if ready(group, record.version, layout, await in_log(self._redis, layout, reached)):
            opened = await self._open(record.version)
            if opened is not None:
                log.info("trying version %s", record.version)
                return CanaryArm(opened[0], record.share)
        return arm


def _becomes_served(arm: CanaryArm | None, group: Group, served: str | None, promoted: Sequence[str]) -> bool:
    """Whether the version that was on its way has been promoted, and is not served yet."""
    if arm is None or promoted[:1] != [arm.serve.version]:
        return False
    return arm.serve.version != served and ready(group, arm.serve.version, arm.serve.layout, {})
