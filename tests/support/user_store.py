"""A user store of three items, and events that are appended to it."""

from __future__ import annotations

import numpy as np

from recsys.config.serving import Serving
from recsys.datatypes import Interaction, UserProfile, unknown_user
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.state.profile_cache import Stale
from recsys.state.users import Appended, Counted, UserStore

D = 3
VECTORS = dict(zip("abc", np.eye(D, dtype=np.float32), strict=True))
TASTE = Taste(Serving().event_types, 10.0)


def event(number: int, item: str = "a", user: str = "u", *, at: float | None = None) -> Interaction:
    return Interaction(f"e{number}", user, item, "like", 1000.0 + number if at is None else at, None, "r1")


async def append(store: UserStore, *events: Interaction, version: str = "v1") -> Appended:
    by_user: dict[str, list[Counted]] = {}
    for e in events:
        by_user.setdefault(e.user_id, []).append(Counted(e, 1.0))
    done = await store.append(by_user, version, unknown_user(D))
    return done[events[0].user_id]


def folded(done: Appended) -> UserProfile:
    assert done.profile is not None
    return fold(done.profile, done.fresh, VECTORS, TASTE, done.sequence)


async def save(store: UserStore, done: Appended, version: str = "v1", user: str = "u") -> UserProfile:
    profile = folded(done)
    await store.profiles.save({user: (profile, done.fresh[-1])}, version)
    return profile


async def loaded(store: UserStore, version: str = "v1", user: str = "u", dimension: int = D) -> UserProfile | int:
    """The cached profile; where it must be rebuilt, the sequence of the history."""
    (entry,) = await store.profiles.load([user], version, unknown_user(dimension))
    return entry.sequence if isinstance(entry, Stale) else entry
