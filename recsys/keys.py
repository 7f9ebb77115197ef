"""Every Redis key in one place. Ids are arbitrary strings, so they stand last in a key.

| key | type | holds |
| --- | --- | --- |
| recsys:events:USER | hash | event_id -> event as JSON: the history, which is the truth; expires with the next three |
| recsys:order:USER | sorted set | event_id by timestamp |
| recsys:sequence:USER | string | number of the user's last change, drawn from recsys:sequences |
| recsys:profile:USER | string | the cached user vector, see `users.py`; expires |
| recsys:early:USER | string | the same for a version that is about to be served; expires within minutes |
| recsys:floor:HASH | string | Unix seconds: events of this user up to then left the history, or were erased; expires |
| recsys:log:SHARD | stream | upserts and deletes of items since the oldest version that is kept |
| recsys:trimmed | hash | shard -> sequence number up to which its log was trimmed |
| recsys:reencoded:SHARD:PRINT | hash | sequence number -> vector of a log entry by another encoder than its own |
| recsys:reencoders:SHARD | set | prints for which there is such a hash |
| recsys:likes · recsys:trend | sorted sets | item_id by weighted likes, ever · decayed, as log2 |
| recsys:touched | sorted set | item_id by Unix seconds of its last counted event |
| recsys:rebuild · recsys:retraining | hash | the last unattended rebuild, and retraining, see `schedule.py` |
| recsys:rebuilding | string | the lock of the composer that rebuilds or retrains |
| recsys:switching | string | the lock of the process that changes which version is served |
| recsys:members:ROLE | hash | replica (a shard's or a composer) -> what it says of itself as JSON, see `presence.py` |
| recsys:heard:ROLE | sorted set | replica by the milliseconds of its last word, by Redis' clock |
| recsys:changed:ROLE | sorted set | replica by the number of its word's last change; the newest number stands at "" |
| recsys:settings | hash | deployment -> its last right `user_config`, and why a later one is refused, as JSON |
| recsys:secret | string | 32 bytes that composers and shards prove to know, see `channel.py` |
"""

from __future__ import annotations

import hashlib

SEQUENCES = "recsys:sequences"
LIKES = "recsys:likes"
TREND = "recsys:trend"
TOUCHED = "recsys:touched"
TRIMMED = "recsys:trimmed"
REBUILD = "recsys:rebuild"
RETRAINING = "recsys:retraining"
REBUILDING = "recsys:rebuilding"
SWITCHING = "recsys:switching"
SETTINGS = "recsys:settings"
SECRET = "recsys:secret"  # noqa: S105 - the key, not the secret


def events(user_id: str) -> str:
    return f"recsys:events:{user_id}"


def order(user_id: str) -> str:
    return f"recsys:order:{user_id}"


def sequence(user_id: str) -> str:
    return f"recsys:sequence:{user_id}"


def profile(user_id: str) -> str:
    return f"recsys:profile:{user_id}"


def early(user_id: str) -> str:
    return f"recsys:early:{user_id}"


def floor(user_id: str) -> str:
    """By a hash of the id, for it outlives an erased user."""
    return f"recsys:floor:{hashlib.blake2b(user_id.encode(), digest_size=16).hexdigest()}"


def presence(role: str) -> list[str]:
    """Words, times, changes."""
    return [f"recsys:{part}:{role}" for part in ("members", "heard", "changed")]


def log(shard: int) -> str:
    return f"recsys:log:{shard}"


def reencoded(shard: int, fingerprint: str) -> str:
    return f"recsys:reencoded:{shard}:{fingerprint}"


def reencoders(shard: int) -> str:
    return f"recsys:reencoders:{shard}"
