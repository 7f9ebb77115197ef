"""The vectors with which a request asks the shards, and what each of them is for."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress, count
from typing import NamedTuple

from recsys.datatypes import Floats, UserProfile
from recsys.model.space import Space
from recsys.ranking.signals import SIGNALS
from recsys.shard.candidates import BECAUSE, LONG, QUERY, ROLES, SHUNNED, TASTE
from recsys.shard.kept_arrays import LASTS_S
from recsys.shard.sources import BITS, COLUMNS

MOST = 2_000
"""Users whose rows are kept, for each kind of request. One of 384 dimensions takes some 2 KB."""
TOLD_S = 0.8 * LASTS_S
"""Seconds after which a shard is told again."""
_NEEDED = {QUERY, TASTE}
"""Roles of vectors that a shard looks at beside its walks."""


@dataclass(frozen=True, slots=True)
class Want:
    """What a scenario wants of a shard."""

    sources: Mapping[str, int]
    """Candidates by source."""
    columns: list[int]
    """The same by COLUMNS."""
    weighed: list[bool]
    """By role: whether a signal with a weight compares candidates with that vector."""
    trail: bool
    """Whether a signal with a weight is measured by the last likes."""

    @classmethod
    def of(cls, wanted: Mapping[str, int], weights: Mapping[str, float]) -> Want:
        weighed = [SIGNALS[name] for name in weights]
        roles = {role for signal in weighed for role in signal.roles}
        return cls(
            wanted,
            [wanted.get(column, 0) for column in COLUMNS],
            [role in roles for role in range(ROLES)],
            any(signal.trail for signal in weighed),
        )


class Asked(NamedTuple):
    """What a request asks for beside its profile and its scenario's sources and weights."""

    vector: Floats | None
    """(width,) query of a text or an item; None: the profile says all."""
    judged: bool
    """Whether candidates are left out for too little relevance."""
    shuns: bool
    """Whether what is near to disliked items comes last."""
    explores: bool


class Name:
    """What a user's rows and last likes are called among shards that were told them, see `shard/told_profiles.py`."""

    __slots__ = ("number", "short", "told_at")

    def __init__(self, number: tuple[int, int], short: Rows) -> None:
        """`short`: the rows that are sent all the same: of walks, and of what rules promote."""
        self.number, self.short = number, short
        self.told_at = -math.inf
        """When they were sent whole, by time.monotonic()."""

    def told(self, now: float) -> bool:
        """Whether shards that have not started since still know it."""
        return now - self.told_at < TOLD_S


class Rows(NamedTuple):
    """A request's vectors: those that a source looks for the k neighbours of, and those that a signal with a weight
    compares with.
    """

    numbers: list[tuple[int, int, int]]
    """(role, bit of the source, k) of each; the last two 0 where no source goes out from it."""
    vectors: list[Floats]
    """(width,) float32 each."""
    name: Name | None = None
    """None: they are always sent whole."""


class KeptRows:
    """Makes the rows of all requests. Those of a user are kept as long as the profile is, for each kind of request; the
    oldest leave first. What they are kept for has a name, where a version learned something of last likes.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._by_profile: dict[_Place, tuple[weakref.ref[UserProfile], Space, Want, Rows]] = {}
        self._own = int.from_bytes(os.urandom(8), "little") | 1
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._by_profile)

    def of(self, space: Space, profile: UserProfile, want: Want, asked: Asked) -> Rows:
        if asked.vector is not None:
            return _rows(space, profile, want, asked)
        place = id(profile), id(want), asked
        kept = self._by_profile.get(place)
        if kept is not None and kept[0]() is profile and kept[1] is space:
            return kept[3]
        rows = _rows(space, profile, want, asked)
        if want.trail and len(profile.trail):
            rows = rows._replace(name=Name((self._own, next(self._numbers)), _short(rows)))
        self._keep(place, profile, space, want, rows)
        return rows

    def _keep(self, place: _Place, profile: UserProfile, space: Space, want: Want, rows: Rows) -> None:
        by_profile = self._by_profile
        by_profile.pop(place, None)
        if len(by_profile) >= self._most:
            del by_profile[next(iter(by_profile))]

        def forget(gone: weakref.ref[UserProfile]) -> None:
            if (kept := by_profile.get(place)) is not None and kept[0] is gone:
                del by_profile[place]

        by_profile[place] = (weakref.ref(profile, forget), space, want, rows)


_Place = tuple[int, int, Asked]
"""id() of the profile and of what is wanted, which is kept beside."""


def _short(rows: Rows) -> Rows:
    needed = [bool(k) or role in _NEEDED for role, _, k in rows.numbers]
    return Rows([*compress(rows.numbers, needed)], [*compress(rows.vectors, needed)])


def _rows(space: Space, profile: UserProfile, want: Want, asked: Asked) -> Rows:
    rows = Rows([], [])
    similar, liked = want.sources.get("similar", 0), want.sources.get("because_you_liked", 0)
    if asked.vector is not None:
        if similar or asked.judged or want.weighed[QUERY]:
            _add(rows, QUERY, "similar", similar, asked.vector)
        similar = 0  # that means what was asked for then; the taste only gives its signal
    if not profile.cold:
        _add_tastes(rows, space, profile, want, asked, similar)
    if asked.shuns:
        for one in profile.shunned_vectors:
            _add(rows, SHUNNED, "", 0, space.text_query(one[: space.text]))
    for i in range(len(profile.recent_vectors)):
        # Only the newest is walked from: the taste reaches what is like the others, and a walk is what costs most.
        k = 0 if i else liked
        if k or want.weighed[BECAUSE + i]:
            _add(rows, BECAUSE + i, "because_you_liked", k, space.context_query(profile.recent_vectors[i]))
    return rows


def _add(rows: Rows, role: int, source: str, k: int, vector: Floats) -> None:
    rows.numbers.append((role, BITS[source] if k else 0, k))
    rows.vectors.append(vector)


def _add_tastes(rows: Rows, space: Space, profile: UserProfile, want: Want, asked: Asked, similar: int) -> None:
    """The rows of a user's taste. `similar`: candidates of the source of that name that it looks for."""
    new = want.sources.get("new", 0) if asked.explores else 0
    measured = asked.judged or want.weighed[TASTE]
    if similar or new or measured:
        taste = space.query(profile.taste)
        if similar or measured:
            _add(rows, TASTE, "similar", similar, taste)
        if new or (asked.explores and measured):
            _add(rows, TASTE, "new", new, taste)
    if space.learned and want.weighed[LONG]:
        _add(rows, LONG, "", 0, space.long_query(profile.taste))
