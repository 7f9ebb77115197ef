"""Profiles that were decoded lately.

To take a profile apart costs far more than to see that its bytes are those of last time, and who asks once asks again
soon. Redis is asked all the same: what is remembered here is never older than its answer.
"""

from __future__ import annotations

from recsys.datatypes import UserProfile
from recsys.state.profile_codec import Cached

MOST_BYTES = 64 * 2**20
"""Bytes of the cached profiles that a process remembers: some ten thousand users of 384 dimensions."""


class DecodedProfiles:
    """The oldest entries leave first, so that an answer costs no more than a look into a dict."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._by_user: dict[str, tuple[bytes, str, UserProfile, Cached]] = {}

    def get(self, user_id: str, blob: bytes | None, version: str, unknown: UserProfile) -> Cached | None:
        """What these bytes of the user are for a version and its profile of a user without events; None where others,
        or none, were decoded last.
        """
        entry = self._by_user.get(user_id)
        same = entry is not None and entry[0] == blob and entry[1] == version and entry[2] is unknown
        return entry[3] if entry is not None and same else None

    def last(self, user_id: str, version: str, unknown: UserProfile) -> UserProfile | None:
        """What was decoded last for the user, if that was for this version; None: nothing, or for another."""
        entry = self._by_user.get(user_id)
        same = entry is not None and entry[1] == version and entry[2] is unknown
        return entry[3][0] if entry is not None and same else None

    def put(self, user_id: str, blob: bytes, version: str, unknown: UserProfile, cached: Cached) -> None:
        """Remember the user's profile in place of the one before."""
        before = self._by_user.pop(user_id, None)
        self._bytes += len(blob) - (0 if before is None else len(before[0]))
        self._by_user[user_id] = (blob, version, unknown, cached)
        while self._bytes > self._most:
            oldest = next(iter(self._by_user))
            self._bytes -= len(self._by_user.pop(oldest)[0])

    def sequences(self) -> dict[str, int]:
        """Return the sequence of each user's profile."""
        return {user_id: cached[0].sequence for user_id, (_, _, _, cached) in self._by_user.items()}

    def drop(self, user_id: str) -> None:
        """Forget the user's profile."""
        if (entry := self._by_user.pop(user_id, None)) is not None:
            self._bytes -= len(entry[0])

    def drop_of(self, user_id: str, sequence: int) -> None:
        """Forget the user's profile of this sequence. One of another sequence stays."""
        entry = self._by_user.get(user_id)
        if entry is not None and entry[3][0].sequence == sequence:
            self.drop(user_id)
