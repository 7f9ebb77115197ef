"""Every Redis key in one place. Ids are arbitrary strings, so they stand last in a key.

The functions here make a `Key`, without the platform's prefix (`args.redis_prefix`). The client that `connect` returns
writes the prefix and a colon in front of each `Key` that it sends, so no call site has to know it. Answers contain
whole keys: see `user_of`.

| key | type | holds |
| --- | --- | --- |
| events:USER | hash | event_id -> event, see `histories.py`: the truth; expires with the next three |
| counted:USER | hash | item_id -> what the user said of it, as it is counted, see `item_counts.py` |
| sequence:USER | string | number of the user's last change, drawn from sequences |
| profile:USER | string | the cached user vector, see `profile_codec.py`; expires |
| early:USER | string | the same for a version that is about to be served; expires within minutes |
| about:USER | hash | attribute of the user -> its value as JSON, see `user_attributes.py`; expires |
| segments | set | values of the users' attribute by which popularity is counted, as JSON |
| segment:VALUE | sorted set | item_id by its likes among the users with this value; expires |
| shown:USER | string | which items the user was shown lately, see `shown_items.py`; expires |
| floor:HASH | string | Unix seconds: events of this user up to then left the history, or were erased; expires |
| tickets | string | how many item writes there were: each draws its place, see `serving/item_writes.py` |
| written:ITEM | string | the place of the item's last write, while an older one may be under way; expires |
| version:ITEM | string | the caller's version of the item's last write, of items written with one; expires |
| layouts | hash | the layouts that the item log is written for, as JSON, and `epoch`, drawn anew with every change |
| log:LOG | stream | upserts and deletes of items since the oldest version that is kept; LOG: see `routing.log_name` |
| trimmed | hash | LOG -> sequence number up to which it was trimmed |
| reencoded:LOG:PRINT | hash | sequence number -> vector of a log entry by another encoder than its own |
| reencoders:LOG | set | prints for which there is such a hash |
| count:ITEM | string | likes and trend of an item, see `item_counts.py`; expires |
| touched:FEED | sorted set | the last items whose count changed, by a number drawn from sequences |
| rebuild · retraining | hash | the last unattended rebuild, and retraining, see `jobs/schedule.py` |
| rebuilding | string | the lock of the composer that rebuilds or retrains |
| switching | string | the lock of the process that changes which version is served |
| members:ROLE | hash | replica (a shard's or a composer) -> its record as JSON, see `membership.py` |
| heard:ROLE | sorted set | replica by the milliseconds at which its record was written last, by Redis' clock |
| changed:ROLE | sorted set | replica by the number of its record's last change; the newest number stands at "" |
| settings | hash | deployment -> its last right `user_config`, and why a later one is refused, as JSON |
| scenarios | hash | number of an edit of the scenarios -> the edit, and `version`: the newest, see `scenario_log.py` |
| answers · outcomes | stream | what was answered and what came of it, until it is in files, see `slate_log.py` |
| waiting:STREAM | hash | `rows` that wait in one of these, and `lost`: those left out since its last entry |
| writer:COMPOSER | string | number of a composer's last write to `answers`; expires |
| token:HASH | string | 8 random bytes that stand for a user in the log, or `erased`; expires |
| collecting | string | the lock of the composer that writes the files of the log |
| summary | string | what came of the answers of the last day, as JSON, for the metrics of all composers; expires |
| summarising | string | the lock of the composer that makes it |
| experiments | hash | name of an experiment -> what it is, when it ran and why it ended, as JSON |
| canary | string | the version that goes out to a part of the users, and how far it is, as JSON |
| leading | string | the lock of the composer that leads it |
| guarding | string | the lock of the composer that looks at guardrails |
| vitals:MINUTE:VARIANT | hash | answers of a variant by how long they took, and how many were degraded; expires |
| page:LIST | string | the ranked list that the pages of a scroll are cut from, see `page_lists.py`; expires |
| windows | hash | replica -> what it measured of itself in its last window, as JSON, see `replica_windows.py` |
| probe | string | written to see whether Redis takes writes; gone after a second |
| secret | string | 32 bytes that composers and shards prove to know, see `transport/handshake.py` |
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from recsys import routing

DEFAULT_PREFIX = "recsys"


class Key(str):
    """A key without the platform's prefix."""

    __slots__ = ()

    def under(self, prefix: str) -> str:
        """The whole key, for a client that `connect` did not make."""
        return f"{prefix}:{self}"


SEQUENCES = Key("sequences")
TICKETS = Key("tickets")
TRIMMED = Key("trimmed")
LAYOUTS = Key("layouts")
REBUILD = Key("rebuild")
RETRAINING = Key("retraining")
REBUILDING = Key("rebuilding")
SWITCHING = Key("switching")
SETTINGS = Key("settings")
SCENARIOS = Key("scenarios")
PROBE = Key("probe")
SECRET = Key("secret")
ANSWERS = Key("answers")
OUTCOMES = Key("outcomes")
COLLECTING = Key("collecting")
SUMMARY = Key("summary")
SUMMARISING = Key("summarising")
WINDOWS = Key("windows")
EXPERIMENTS = Key("experiments")
GUARDING = Key("guarding")
CANARY = Key("canary")
LEADING = Key("leading")


def events(user_id: str) -> Key:
    return Key(f"events:{user_id}")


def counted(user_id: str) -> Key:
    return Key(f"counted:{user_id}")


def count(item_id: str) -> Key:
    return Key(f"count:{item_id}")


def touched(feed: int | str) -> Key:
    """See `routing.feed_of`."""
    return Key(f"touched:{feed}")


def sequence(user_id: str) -> Key:
    return Key(f"sequence:{user_id}")


def profile(user_id: str) -> Key:
    return Key(f"profile:{user_id}")


def early(user_id: str) -> Key:
    return Key(f"early:{user_id}")


def about(user_id: str) -> Key:
    return Key(f"about:{user_id}")


SEGMENTS = Key("segments")


def segment(value: str) -> Key:
    """`value`: as JSON, as it stands in `about`."""
    return Key(f"segment:{value}")


def shown(user_id: str) -> Key:
    return Key(f"shown:{user_id}")


def floor(user_id: str) -> Key:
    """By a hash of the id, for it outlives an erased user."""
    return Key(f"floor:{hashlib.blake2b(user_id.encode(), digest_size=16).hexdigest()}")


def token(user_id: str) -> Key:
    """By the hash that a script can make as well: the log must not need the user's id."""
    return Key(f"token:{hashlib.sha1(user_id.encode(), usedforsecurity=False).hexdigest()}")


TOKENS = Key("token:")
"""What `token` begins with."""


def waiting(stream: Key) -> Key:
    return Key(f"waiting:{stream}")


def writer(composer: str) -> Key:
    return Key(f"writer:{composer}")


def vitals(variant: str, minute: int) -> Key:
    """`minute`: of Unix time."""
    return Key(f"vitals:{minute}:{variant}")


def page(list_id: str) -> Key:
    return Key(f"page:{list_id}")


OF_THE_MOMENT = frozenset(
    {
        *("rebuilding", "switching", "collecting", "summarising", "leading", "guarding", "probe"),
        *("members", "heard", "changed", "writer", "settings", "secret"),
        *("early", "page", "summary", "windows", "reencoded", "reencoders"),
        *("vitals", "guarding", "leading", "canary"),
    }
)
"""Kinds of keys that no backup has: locks and a probe, what the replicas that run say of themselves and share, and what
is made anew when it is asked for. A kind is what stands before a key's first colon."""


def kind_of(key: bytes) -> str:
    """The kind of a key without its prefix: see the table above."""
    return key.partition(b":")[0].decode(errors="replace")


class PresenceKeys(NamedTuple):
    """Where the records of one role stand, see `presence.py`."""

    records: Key
    heard: Key
    changed: Key


def presence(role: str) -> PresenceKeys:
    return PresenceKeys(Key(f"members:{role}"), Key(f"heard:{role}"), Key(f"changed:{role}"))


def written(item_id: str) -> Key:
    return Key(f"written:{item_id}")


def version(item_id: str) -> Key:
    return Key(f"version:{item_id}")


def log(shard: int, layout: str = routing.FIRST) -> Key:
    return Key(f"log:{routing.log_name(shard, layout)}")


def reencoded(log: str, fingerprint: str) -> Key:
    """`log`: see `routing.log_name`."""
    return Key(f"reencoded:{log}:{fingerprint}")


def reencoders(log: str) -> Key:
    """`log`: see `routing.log_name`."""
    return Key(f"reencoders:{log}")


def user_of(key: bytes) -> str:
    """The user of a whole key as Redis gives it. The prefix has no colon, and no kind of key has one."""
    return key.decode().split(":", 2)[2]
