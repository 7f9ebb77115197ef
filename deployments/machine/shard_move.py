"""The change of the shards of a running platform: their number, or which of them own what.

A version for the new shards is built beside the served one, and deployments that are missing are started. Then the
version is promoted as any other. Deployments that no version has any more end when every composer serves it. Until
then the served shards answer, writes go to the logs of both, and the same command goes on after an interruption. With
the shards of before in the file it gives the move up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.machine.serve_config import ServeConfig
from recsys.encoders.catalogue import Progress
from recsys.jobs.patient_redis import patient_redis
from recsys.jobs.promote import promote
from recsys.jobs.switching import until_gone, until_served
from recsys.routing import Layout
from recsys.versions.manifest import Manifest
from recsys.versions.moving import end_move, under_way
from recsys.versions.store import VersionStore

_SERVED_WITHIN_S = 600.0
"""Loading a version of millions of items takes minutes."""
_ENDED_WITHIN_S = 240.0
"""A composer that was killed counts as serving for three minutes."""
_GONE_WITHIN_S = 60.0
"""A replica is present for five seconds after its last word."""


@dataclass(frozen=True, slots=True)
class ShardMove:
    config: ServeConfig
    """With the shards that are wanted."""
    redis_url: str

    @property
    def needed(self) -> bool:
        """Whether the version to serve is one of other shards."""
        current = self._store.current()
        return current is not None and not self._store.manifest(current).fits(self.config.platform)

    def begun(self) -> Sequence[Layout]:
        """The layouts that are written beside the served one: a move to them is not ended yet."""

        async def look() -> Sequence[Layout]:
            async with patient_redis(self.redis_url, self.config.platform, "try again") as redis:
                return await under_way(self._store, redis)

        return asyncio.run(look())

    def build(self, report: Progress) -> Manifest:
        """Publish a version of the live catalogue for the new shards; writes go to both from the start of it."""
        from recsys.jobs.compact import compact  # noqa: PLC0415 - most changes of a config file build nothing

        return asyncio.run(compact(self.config, self.redis_url, report, then_promote=False, moving=True))

    def switch(self, manifest: Manifest) -> None:
        """Serve the version, and return when all composers do."""
        platform = self.config.platform
        asyncio.run(promote(manifest.version, platform, self.redis_url, manifest.base))
        asyncio.run(until_served(self._store, manifest.version, platform, self.redis_url, _SERVED_WITHIN_S))

    def end(self) -> None:
        """End what is written beside the served layout. From here on there is no rollback to versions of it."""

        async def ended() -> None:
            async with patient_redis(self.redis_url, self.config.platform, "hand the file in again") as redis:
                await end_move(self._store, redis, _ENDED_WITHIN_S)

        asyncio.run(ended())

    def until_gone(self) -> None:
        """Return when no replica of a shard that the file does not name is present."""
        asyncio.run(until_gone(self.config.platform.shards, self.config.platform, self.redis_url, _GONE_WITHIN_S))

    @property
    def _store(self) -> VersionStore:
        return VersionStore.of(self.config.platform)


def with_shards_of_both(running: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's document with the shards that run and that it does not name, as they run."""
    [current, *_], [new, *others] = running["applications"], document["applications"]
    named = {entry["name"] for entry in new["deployments"]}
    more = [entry for entry in current["deployments"] if entry["name"] not in named]
    shards = sum(entry["name"].startswith("shard-") for entry in [*new["deployments"], *more])
    application = {
        **new,
        "args": {**(new.get("args") or {}), "shards": shards},
        "deployments": [*new["deployments"], *more],
    }
    return {**document, "applications": [application, *others]}
