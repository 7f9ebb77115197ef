"""What the replicas say of themselves: which versions they have loaded, how far they have applied their log, what they
serve. `presence.py` carries it through Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel

from recsys.itemlog import after

Role = Literal["shard", "composer"]


class Drift(BaseModel):
    """How far a shard has moved from its snapshot."""

    log_share: float
    """Share of the live items that only the log holds: each was added one by one, and replicas apply it at start."""
    dead_share: float
    """Share of the rows that are tombstones: memory that nobody can find, and detours in the graph."""
    recall_at_10: float
    """Of 16 sampled texts against exact search."""


class Member(BaseModel):
    role: Role
    id: str
    shard: int | None = None
    """Number of the shard; None for a composer."""
    versions: dict[str, str] = {}
    """Versions ready to be searched, with the log entry applied last."""
    serving: str | None = None
    """A composer's version; None: it serves none yet."""
    asks: str | None = None
    """A version that the composer would serve if the shards loaded it; None: what it serves and CURRENT will do."""
    rejected: dict[str, str] = {}
    """Versions that it should hold or serve and cannot open, with the reason."""
    address: str | None = None
    """`host:port` of a shard's channel; None: it has none, the way is Serve's handle."""
    items: dict[str, int] = {}
    """Live items by version."""
    drift: dict[str, Drift] = {}
    """By version, as measured last."""


Group = Mapping[int, Sequence[Member]]
"""The replicas of each shard, by its number. A shard of which none is known is missing."""


def by_shard(members: Sequence[Member]) -> dict[int, list[Member]]:
    """The shards' replicas among the members, see `Group`."""
    group: dict[int, list[Member]] = {}
    for m in members:
        if m.shard is not None:
            group.setdefault(m.shard, []).append(m)
    return group


def ready(group: Group, version: str, shards: int, reached: Mapping[int, str]) -> bool:
    """Whether every replica of every shard can search the version, and has applied the log in it as far as `reached`.

    `reached`: see `furthest`, of a look before, and no further than the log itself. A version whose log stands still
    (no encoder answers, say) must not be served: what was deleted since would be back.
    """
    for number in range(shards):
        replicas = group.get(number)
        if not replicas or any(version not in m.versions for m in replicas):
            return False
        least = after(reached.get(number, "0-0"))
        if any(after(m.versions[version]) < least for m in replicas):
            return False
    return True


def covered(group: Group, version: str, shards: int) -> int:
    """How many of the shards have a replica that can search the version."""
    return sum(any(version in m.versions for m in group.get(number, ())) for number in range(shards))


def furthest(group: Group) -> dict[int, str]:
    """The log entry that any replica has applied in any version, by shard."""
    return {
        number: max([c for m in replicas for c in m.versions.values()], key=after, default="0-0")
        for number, replicas in group.items()
    }


def applied(group: Group, shard: int, sequence: str) -> bool:
    """Whether every replica of the shard has applied its log up to the sequence number, in every version it holds.

    A version that is about to be served counts as well: what was seen must not be gone after the switch.
    """
    replicas = [m for m in group.get(shard, ()) if m.versions]
    return bool(replicas) and all(after(c) >= after(sequence) for m in replicas for c in m.versions.values())
