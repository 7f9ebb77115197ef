"""Profiles that were decoded lately.

To take a profile apart costs far more than to see that its bytes are those of last time, and who asks once asks again
soon. Redis is asked all the same: what is remembered here is never older than its answer.
"""

from __future__ import annotations

from msgspec import Struct

from recsys.datatypes import UserProfile
from recsys.state.profile_codec import Cached

MOST_BYTES = 64 * 2**20
"""Bytes of the cached profiles that a process remembers: some ten thousand users of 384 dimensions."""


class _Entry(Struct, frozen=True, gc=False):
    """Of one user. The garbage collector need not look at it, see `Cached`."""

    blob: bytes
    version: str
    unknown: UserProfile
    cached: Cached

    def of(self, version: str, unknown: UserProfile) -> bool:
        return self.version == version and self.unknown is unknown


class DecodedProfiles:
    """The oldest entries leave first, so that an answer costs no more than a look into a dict."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._by_user: dict[str, _Entry] = {}

    def get(self, user_id: str, blob: bytes | None, version: str, unknown: UserProfile) -> Cached | None:
        """What these bytes of the user are for a version and its profile of a user without events; None where others,
        or none, were decoded last.
        """
        entry = self._by_user.get(user_id)
        return entry.cached if entry is not None and entry.blob == blob and entry.of(version, unknown) else None

    def last(self, user_id: str, version: str, unknown: UserProfile) -> UserProfile | None:
        """What was decoded last for the user, if that was for this version; None: nothing, or for another."""
        entry = self._by_user.get(user_id)
        return entry.cached.profile if entry is not None and entry.of(version, unknown) else None

    def put(self, user_id: str, blob: bytes, version: str, unknown: UserProfile, cached: Cached) -> None:
        """Remember the user's profile in place of the one before."""
        before = self._by_user.pop(user_id, None)
        self._bytes += len(blob) - (0 if before is None else len(before.blob))
        self._by_user[user_id] = _Entry(blob, version, unknown, cached)
        while self._bytes > self._most:
            oldest = next(iter(self._by_user))
            self._bytes -= len(self._by_user.pop(oldest).blob)

    def sequences(self) -> dict[str, int]:
        """Return the sequence of each user's profile."""
        return {user_id: entry.cached.profile.sequence for user_id, entry in self._by_user.items()}

    def drop(self, user_id: str) -> None:
        """Forget the user's profile."""
        if (entry := self._by_user.pop(user_id, None)) is not None:
            self._bytes -= len(entry.blob)

    def drop_of(self, user_id: str, sequence: int) -> None:
        """Forget the user's profile of this sequence. One of another sequence stays."""
        entry = self._by_user.get(user_id)
        if entry is not None and entry.cached.profile.sequence == sequence:
            self.drop(user_id)
