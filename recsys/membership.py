"""Who is there: each replica says in Redis what it has loaded and how far it has applied its log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from recsys import keys
from recsys.drift import Drift
from recsys.itemlog import after

STALE_S = 5.0
"""A replica that has said nothing for this long counts as gone."""


class Member(BaseModel):
    role: Literal["shard", "composer"]
    id: str
    shard: int | None = None
    """Number of the shard; None for a composer."""
    versions: dict[str, str] = {}
    """Versions ready to be searched, with the log entry applied last."""
    serving: str | None = None
    """A composer's version."""
    address: str | None = None
    """`host:port` of a shard's channel; None: it has none, the way is Serve's handle."""
    items: dict[str, int] = {}
    """Live items by version."""
    drift: dict[str, Drift] = {}
    """By version, as measured last."""
    seen: float = 0.0
    """Unix seconds of the last word."""


class Members:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def say(self, member: Member) -> None:
        said = member.model_copy(update={"seen": time.time()})
        await self._redis.hset(keys.MEMBERS, f"{member.role}:{member.id}", said.model_dump_json())

    async def leave(self, member: Member) -> None:
        await self._redis.hdel(keys.MEMBERS, f"{member.role}:{member.id}")

    async def secret(self) -> bytes:
        """What both ends of a channel must know; made by whoever comes first."""
        await self._redis.set(keys.SECRET, os.urandom(32), nx=True)
        known: Any = await self._redis.get(keys.SECRET)
        return bytes(known)

    async def all(self) -> list[Member]:
        """Those that were heard of lately; the others are struck off."""
        heard: Mapping[Any, Any] = await self._redis.hgetall(keys.MEMBERS)
        known = {field: member for field, value in heard.items() if (member := _parsed(value)) is not None}
        gone = [field for field in heard if field not in known or time.time() - known[field].seen > 12 * STALE_S]
        if gone:
            await self._redis.hdel(keys.MEMBERS, *gone)
        return [m for m in known.values() if time.time() - m.seen <= STALE_S]


def _parsed(word: bytes) -> Member | None:
    """None for what another release has said, whose replicas are gone."""
    try:
        return Member.model_validate_json(word)
    except ValidationError:
        return None


def ready(members: Sequence[Member], version: str, shards: int, reached: Mapping[int, str]) -> bool:
    """Whether every replica of every shard can search the version, and has applied the log in it as far as `reached`.

    `reached`: see `furthest`, of a look before. A version whose log stands still (no encoder answers, say) must not be
    served: what was deleted since would be back.
    """
    for number in range(shards):
        replicas = [m for m in members if m.role == "shard" and m.shard == number]
        if not replicas or any(version not in m.versions for m in replicas):
            return False
        least = after(reached.get(number, "0-0"))
        if any(after(m.versions[version]) < least for m in replicas):
            return False
    return True


def furthest(members: Sequence[Member]) -> dict[int, str]:
    """The log entry that any replica has applied in any version, by shard."""
    reached: dict[int, str] = {}
    for m in members:
        if m.shard is not None:
            reached[m.shard] = max([*m.versions.values(), reached.get(m.shard, "0-0")], key=after)
    return reached


def applied(members: Sequence[Member], shard: int, sequence: str) -> bool:
    """Whether every replica of the shard has applied its log up to the sequence number, in every version it holds.

    A version that is about to be served counts as well: what was seen must not be gone after the switch.
    """
    replicas = [m for m in members if m.role == "shard" and m.shard == shard and m.versions]
    return bool(replicas) and all(after(c) >= after(sequence) for m in replicas for c in m.versions.values())
