"""What a replica says of itself: one record for a shard's replica, one for a composer, and what follows from them.

`presence.py` carries the records through Redis, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, TypeVar

import msgspec

from recsys.routing import FIRST, Layout
from recsys.state.item_log import LogId, after

Role = Literal["shard", "composer"]

WIRE = 4
"""Number of the format in which composers and shards of this release talk, see `transport/wire.py`. It grows with a
change that another release would refuse or misread. A further field with a default is none: who does not know the field
skips it, and who does not get it takes the default.
"""


class Drift(msgspec.Struct, frozen=True):
    """How far a shard has moved from its snapshot: what a rebuild would put right. See `drift.measure`."""

    log_share: float
    """Share of the live items that only the log holds: each was added one by one, and replicas apply it at start."""
    dead_share: float
    """Share of the rows that are tombstones: memory that nobody can find, and detours in the graph."""
    recall_at_10: float
    """Of 16 sampled texts against exact search."""


class RecallState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a shard's replica holds the recall of its searches, see `shard/recall_control.py`."""

    ef_search: int
    """In force."""
    floor: float
    """The one that is held worst, of the shard's settings and the scenarios'."""
    lower: float | None = None
    """The lower bound of recall@10 at this `ef_search`; None: nothing is measured at it yet."""
    searches: int = 0
    """What the bound is over."""
    exact: bool = False
    """Whether every item is scored, for no `ef_search` within the bounds finds enough."""
    rebuild: bool = False
    """Whether a rebuild is asked for."""
    why: str = ""
    """What led to the last change of `ef_search` or `exact`; empty: there was none."""


class VersionState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version that a shard's replica is ready to search."""

    cursor: str
    """Id of the log entry applied last."""
    items: int = 0
    """Live items."""
    drift: Drift | None = None
    """As measured last; None: not measured yet."""
    recall: RecallState | None = None
    """None: recall is not held, see `ShardTuning.recall`."""
    layout: str = FIRST
    """Of the version, which says whose log the cursor is of."""


class ShardMember(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of one replica of a shard."""

    role: ClassVar[Role] = "shard"

    id: str
    shard: int
    """Number of the shard."""
    address: str | None = None
    """`host:port` of its channel; None: it has none, and is reached through Serve's handle."""
    versions: Mapping[str, VersionState] = {}
    """Versions ready to be searched."""
    rejected: Mapping[str, str] = {}
    """Versions that it should hold and cannot open, with the reason."""
    wire: int = 1
    """`WIRE` of its release. During an upgrade it may be another one than this release's."""


class ComposerMember(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of one composer."""

    role: ClassVar[Role] = "composer"

    id: str
    serving: str | None = None
    """Its version; None: it serves none yet."""
    asks: str | None = None
    """A version that it would serve if the shards loaded it; None: what it serves and CURRENT will do."""
    tries: str | None = None
    """The version that goes out to a part of the users; None: none does."""
    trying: str | None = None
    """The same once it can answer with it."""
    rejected: Mapping[str, str] = {}
    """Versions that it should serve and cannot open, with the reason."""


Member = ShardMember | ComposerMember
M = TypeVar("M", ShardMember, ComposerMember)

Group = Mapping[int, Sequence[ShardMember]]
"""The replicas of each shard, by its number. A shard without a replica is missing."""

encode = msgspec.json.Encoder().encode
"""A record as it is stored."""


def decoder(kind: type[M]) -> msgspec.json.Decoder[M]:
    """For the records of one role. Its `decode` raises msgspec.DecodeError for the record of another release."""
    return msgspec.json.Decoder(kind)


def by_shard(members: Iterable[ShardMember]) -> dict[int, list[ShardMember]]:
    """The replicas by the number of their shard, see `Group`."""
    group: dict[int, list[ShardMember]] = {}
    for member in members:
        group.setdefault(member.shard, []).append(member)
    return group


def spoken(members: Iterable[ShardMember]) -> list[ShardMember]:
    """The replicas that this release can talk to."""
    return [m for m in members if m.wire == WIRE]


def ready(group: Group, version: str, layout: Layout, reached: Mapping[LogId, str]) -> bool:
    """Whether every replica of every shard can search the version, and has applied the log in it as far as `reached`.

    Replicas with another format of messages count as absent: a composer of a new release waits for shards of its own.
    `layout`: of the version. `reached`: see `furthest`, of a look before, and no further than the log itself. A version
    whose log stands still (no encoder answers, say) must not be served: what was deleted since would be back.
    """
    for number in range(layout.router.shards):
        replicas = spoken(group.get(number, ()))
        if not replicas or any(version not in m.versions for m in replicas):
            return False
        least = after(reached.get(LogId(layout.id, number), "0-0"))
        if any(after(m.versions[version].cursor) < least for m in replicas):
            return False
    return True


def covered(group: Group, version: str, shards: int) -> int:
    """How many of the shards have a replica that can search the version, and that this release can talk to."""
    return sum(any(version in m.versions for m in spoken(group.get(number, ()))) for number in range(shards))


def furthest(group: Group) -> dict[LogId, str]:
    """The last entry of each log that any replica has applied, in any version of the log's layout."""
    reached: dict[LogId, str] = {}
    for number, replicas in group.items():
        for state in (state for m in replicas for state in m.versions.values()):
            log = LogId(state.layout, number)
            reached[log] = max(reached.get(log, "0-0"), state.cursor, key=after)
    return reached


def applied(group: Group, log: LogId, sequence: str, serving: str) -> bool:
    """Whether every replica that follows the log has applied it up to the sequence number, in every version.

    A version that is about to be served counts as well: what was seen must not be gone after the switch. `serving`: the
    layout that is served. The log of another one may have no reader yet, and is not waited for then.
    """
    states = [s for m in group.get(log.shard, ()) for s in m.versions.values() if s.layout == log.layout]
    least = after(sequence)
    return all(after(state.cursor) >= least for state in states) if states else log.layout != serving


def drifts(group: Group, version: str) -> list[Drift]:
    """Of every replica that has measured the version."""
    states = (m.versions.get(version) for replicas in group.values() for m in replicas)
    return [state.drift for state in states if state is not None and state.drift is not None]


def asking_for_rebuilds(group: Group, version: str) -> list[str]:
    """Why the shards want the version to be replaced by one that is built anew, in words; one for each replica."""
    states = [(number, m.versions.get(version)) for number, replicas in sorted(group.items()) for m in replicas]
    return [
        f"recall of shard-{number}: {state.recall.why}"
        for number, state in states
        if state is not None and state.recall is not None and state.recall.rebuild
    ]


def in_use(members: Iterable[Member]) -> set[str]:
    """Versions that a shard's replica holds or a composer serves."""
    versions: set[str] = set()
    for member in members:
        if isinstance(member, ShardMember):
            versions.update(member.versions)
        else:
            versions.update(version for version in (member.serving, member.tries) if version is not None)
    return versions
