"""A profile as the bytes that Redis caches, and which of them a version and its settings can still use.

A header, then the columns, then where the newest event stands within its moment and the ids of the items liked last.
The taste and the vectors of the items liked last are of one version and one set of settings. All else outlives both.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache

import numpy as np
from msgspec import Struct, structs

from recsys.datatypes import Interaction, UserProfile
from recsys.state.histories import in_order

_FORMAT = b"pf08"
"""A profile that was cached in another form is passed over."""
_STAMP = 20
"""Bytes that say what a profile was made for: format, hash of the version, hash of the settings."""
_HEADER = struct.Struct("<IQdIBBHHHId")
"""Then likes, sequence, timestamp of the newest event, seen items, recent items and 16 times the shunned ones, whether
the history was cut, trail, lengths of taste and vectors, likes of the session and when its last was. That makes 64
bytes, so that the 8-byte keys behind them are aligned.
"""
_START = _STAMP + _HEADER.size


class Cached(Struct, frozen=True, gc=False):
    """A profile, and where its newest event stands in the history.

    A composer keeps ten thousand: what has no place in the lists of the garbage collector it need not look at.
    """

    profile: UserProfile
    at: float
    """Unix seconds of the newest event."""
    within: str
    """Where it stands within its moment."""

    @property
    def newest(self) -> tuple[float, str]:
        """See `histories.in_order`."""
        return self.at, self.within


@lru_cache(8)
def _stamp(version: str, settings: bytes) -> bytes:
    return _FORMAT + hashlib.blake2b(version.encode(), digest_size=8).digest() + settings


def encode(profile: UserProfile, newest: Interaction, version: str, settings: bytes) -> bytes:
    """A profile as bytes. `newest`: the newest event in it. `settings`: 8 bytes, see `Taste.fingerprint`."""
    lengths = (len(profile.taste), profile.recent_vectors.shape[1])
    kept = len(profile.recent) + 16 * len(profile.shunned)
    sizes = (len(profile.seen), kept, profile.cut, len(profile.trail), *lengths)
    header = _HEADER.pack(
        profile.likes, profile.sequence, newest.timestamp, *sizes, profile.session, profile.session_at
    )
    floats = (profile.trail_weights, profile.taste, profile.recent_vectors, profile.shunned_vectors)
    columns = (profile.seen, profile.trail, *floats, profile.trail_at, profile.felt)
    names = "\n".join((in_order(newest)[1], *profile.recent, *profile.shunned))
    return b"".join((_stamp(version, settings), header, *(column.tobytes() for column in columns), names.encode()))


def decode(blob: bytes, version: str, settings: bytes, unknown: UserProfile) -> Cached | None:
    """The profile in `blob`; None when it was made for another version or with other settings.

    `unknown` is the version's profile of a user without events: its vectors have the lengths that must match.
    """
    if not blob.startswith(_stamp(version, settings)):
        return None
    cached = _read(blob)
    lengths = (cached.profile.taste.shape, cached.profile.recent_vectors.shape[1])
    return cached if lengths == (unknown.taste.shape, unknown.recent_vectors.shape[1]) else None


def remains(blob: bytes, unknown: UserProfile) -> UserProfile | None:
    """What is left of a profile when version or settings change: the seen items, the trail and the session.

    The taste is that of an `unknown` user. None when the profile was cached in another form.
    """
    if not blob.startswith(_FORMAT):
        return None
    return structs.replace(
        _read(blob).profile,
        taste=unknown.taste,
        recent=(),
        recent_vectors=unknown.recent_vectors,
        shunned=(),
        shunned_vectors=unknown.shunned_vectors,
        stale=True,
    )


def _read(blob: bytes) -> Cached:
    # One look at the memory for each type, and slices of it: that is cheaper than a look for each column.
    header = _HEADER.unpack_from(blob, _STAMP)
    likes, sequence, newest, seen, kept, cut, trail, taste, width, session, session_at = header
    recent, shunned = kept % 16, kept // 16
    keys = np.frombuffer(blob, np.uint64, seen + trail, _START)
    at = _START + 8 * (seen + trail)
    floats = np.frombuffer(blob, np.float32, trail + taste + (recent + shunned) * width, at)
    at += 4 * len(floats)
    bits = at + 4 * trail
    names = bits + (seen + 7) // 8
    within, *ids = blob[names:].decode().split("\n")
    vectors = floats[trail + taste :].reshape(recent + shunned, width)
    profile = UserProfile(
        taste=floats[trail : trail + taste],
        seen=keys[:seen],
        felt=np.frombuffer(blob, np.uint8, names - bits, bits),
        recent=tuple(ids[:recent]),
        recent_vectors=vectors[:recent],
        trail=keys[seen:],
        trail_weights=floats[:trail],
        trail_at=np.frombuffer(blob, np.uint32, trail, at),
        likes=likes,
        sequence=sequence,
        session_at=session_at,
        session=session,
        cut=bool(cut),
        shunned=tuple(ids[recent:]),
        shunned_vectors=vectors[recent:],
    )
    return Cached(profile, newest, within)
