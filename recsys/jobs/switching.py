"""Waiting until a promoted version is served, and until the replicas of shards that it lacks are gone.

Composers serve a version once every shard's replica has loaded it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from recsys.config.platform import Platform
from recsys.errors import RuntimeFailure, VersionError
from recsys.jobs.patient_redis import patient_redis
from recsys.state.membership import ComposerMember, Member, ShardMember
from recsys.state.presence import everyone
from recsys.versions.store import VersionStore

_LOOK_S = 0.1


async def until_served(
    store: VersionStore, version: str, platform: Platform, redis_url: str | None, within_s: float
) -> int:
    """Wait until every composer with a presence record serves the version. Return their number; 0: none runs.

    Raises VersionError when a replica cannot open it or another version is promoted meanwhile, RuntimeFailure after
    `within_s` seconds, and Unavailable when Redis does not answer.
    """
    if redis_url is None:
        return 0
    deadline = asyncio.get_running_loop().time() + within_s
    async with patient_redis(
        redis_url, platform, "the version is promoted; `recsys status` says when it is served"
    ) as it:
        while behind := _behind(members := await everyone(it), version):
            _refuse_if_rejected(members, version)
            if (current := await asyncio.to_thread(store.current)) != version:
                raise VersionError(f"{current} was promoted meanwhile, and is served instead of {version}")
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeFailure(
                    f"{version} is promoted, and {len(behind)} composers do not serve it after {within_s:.0f} s, "
                    f"such as {behind[0].id}; `recsys status` says what they wait for"
                )
            await asyncio.sleep(_LOOK_S)
    return sum(isinstance(member, ComposerMember) for member in members)


async def until_gone(shards: int, platform: Platform, redis_url: str, within_s: float) -> None:
    """Wait until no replica of a shard behind the first `shards` is present.

    Serve reports a replica as ended a moment before its record is deleted, and one that it had to kill stays present
    until its silence counts, for five seconds. Raises RuntimeFailure after `within_s` seconds, and Unavailable when
    Redis does not answer.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    async with patient_redis(redis_url, platform, "the shards are changed; `recsys status` says who is present") as it:
        while left := sorted(
            {one.shard for one in await everyone(it) if isinstance(one, ShardMember) and one.shard >= shards}
        ):
            if asyncio.get_running_loop().time() > deadline:
                names = ", ".join(f"shard-{number}" for number in left)
                raise RuntimeFailure(f"{names}: still present after {within_s:.0f} s; `recsys status` says who")
            await asyncio.sleep(_LOOK_S)


def _behind(members: Sequence[Member], version: str) -> list[ComposerMember]:
    return [one for one in members if isinstance(one, ComposerMember) and one.serving != version]


def _refuse_if_rejected(members: Sequence[Member], version: str) -> None:
    for one in members:
        if reason := one.rejected.get(version):
            raise VersionError(f"{one.id} cannot open {version}, so the version of before stays: {reason}")
