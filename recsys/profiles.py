"""Folding interactions into a user's profile: pure functions of what was there and what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config import EventType
from recsys.datatypes import Floats, Interaction, UserProfile, item_keys
from recsys.space import Space

RECENT = 3
"""Liked items that a profile keeps with their vectors, for what is like them."""
TRAIL = 20
"""Likes that a profile keeps by key, for what goes with exactly them: at a half-life of 4 the ones before weigh 3 %."""


SESSION_GAP_S = 1800.0
"""Seconds without an event that end a session, as web analytics agree."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What the event types mean, and how fast a like fades."""

    types: Mapping[str, EventType]
    half_life: float
    """Likes."""

    def weight(self, event: Interaction) -> float:
        """The like in an event; 0 when it is none, or of a type that is no longer declared."""
        known = self.types.get(event.type)
        if known is None or (known.liked_from is not None and (event.value is None or event.value < known.liked_from)):
            return 0.0
        return known.weight

    @property
    def decay(self) -> float:
        return float(0.5 ** (1.0 / self.half_life))


def position(profile: UserProfile, now: float) -> int:
    """Items liked in the session that is under way at `now`, in Unix seconds; 0: a new one begins.

    Each counts once, as in what is learned from: an item that is viewed, clicked and bought is one.
    """
    return profile.session if now - profile.session_at <= SESSION_GAP_S else 0


def fold(
    profile: UserProfile,
    events: Sequence[Interaction],
    vectors: Mapping[str, Floats],
    taste: Taste,
    sequence: int,
    space: Space | None = None,
) -> UserProfile:
    """The profile after further events, oldest first; `vectors` are the items' contexts. `space` None: text alone.

    `taste <- decay ** m * taste + sum of decay ** (m - 1 - i) * weight_i * vector_i` over the m likes whose items have
    vectors, each part of the taste with its own decay, so that folding one by one and folding all at once give the
    same. Every item of an event counts as seen.
    """
    space = space or Space(text=len(profile.taste))
    likes = [(e.item_id, w) for e in events if (w := taste.weight(e)) and e.item_id in vectors]
    updated = profile.taste
    if likes:
        decays = space.decays(taste.decay)
        weights = np.array([w for _, w in likes], np.float32)
        contexts = np.stack([vectors[i] for i, _ in likes])
        ages = np.arange(len(likes) - 1, -1, -1, dtype=np.float32)
        added = [weights * decay**ages @ contexts[:, part] for part, decay in space.parts(taste.decay)]
        updated = decays ** np.float32(len(likes)) * profile.taste + np.concatenate(added)
    liked = dict(zip(reversed(profile.recent), profile.recent_vectors[::-1], strict=True))
    for item_id, weight in likes:
        if weight > 0:
            liked.pop(item_id, None)
            liked[item_id] = vectors[item_id]
    recent = list(reversed(liked))[:RECENT]
    trail = dict(zip(profile.trail.tolist(), profile.trail_weights.tolist(), strict=True))
    for key, (_, weight) in zip(item_keys(i for i, _ in likes[-TRAIL:]).tolist(), likes[-TRAIL:], strict=True):
        if weight > 0:
            trail = {key: weight} | {k: w for k, w in trail.items() if k != key}
    trail = dict(list(trail.items())[:TRAIL])
    keys = item_keys(e.item_id for e in events)
    new = ~np.isin(keys, profile.seen)
    new[np.delete(np.arange(len(keys)), np.unique(keys, return_index=True)[1])] = False
    times = [e.timestamp for e, is_new in zip(events, new.tolist(), strict=True) if is_new and taste.weight(e) > 0]
    session_at, session = _session(profile, times)
    return UserProfile(
        taste=updated.astype(np.float32, copy=False),
        seen=np.union1d(profile.seen, keys).astype(np.uint64),
        recent=tuple(recent),
        recent_vectors=np.stack([liked[i] for i in recent]) if recent else profile.recent_vectors,
        trail=np.fromiter(trail, np.uint64, len(trail)),
        trail_weights=np.fromiter(trail.values(), np.float32, len(trail)),
        sequence=sequence,
        session_at=session_at,
        session=session,
    )


def _session(profile: UserProfile, times: Sequence[float]) -> tuple[float, int]:
    """After likes at these times, oldest first: when the last was, and how many its session has."""
    last, count = profile.session_at, profile.session
    for time in times:
        last, count = time, 1 if time - last > SESSION_GAP_S else count + 1
    return last, count
