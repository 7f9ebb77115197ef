"""The records that travel between the parts, but for answers: frozen, columnar where there are many rows, picklable.

A *row* is one item's place in one shard; a *key* is a hash of the item id that is the same in every shard.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

KEY_BITS = 48
"""Bits of an item key; the 16 above hold a request's place in its batch. Two of 10,000 keys meet once in 5 million."""

AttributeValue = bool | str | float | list[str]


def item_key(item_id: str) -> int:
    """48-bit hash of an item id: used to recognise items across shards and versions without their strings."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=KEY_BITS // 8).digest(), "big")


def item_keys(item_ids: Iterable[str]) -> Keys:
    """(n,) uint64, in the order of the ids."""
    return np.fromiter((item_key(i) for i in item_ids), dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Item:
    """What can be recommended."""

    item_id: str
    title: str = ""
    text: str = ""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    created_at: float | None = None
    """Unix seconds; None: unknown, never counted as new."""
    hidden: bool = False
    """Whether it is kept out of every answer."""
    available_from: float | None = None
    """Unix seconds before which no answer has it; None: no such bound."""
    available_until: float | None = None
    """Unix seconds from which on no answer has it; None: no such bound."""

    def passage(self) -> str:
        """What the encoder reads."""
        return f"{self.title}. {self.text}" if self.title and self.text else self.title or self.text


class Interaction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One user did one thing to one item. `weight` and `liked` follow from the type and value.

    A struct without a place in the garbage collector's lists: imports hold hundreds of thousands.
    """

    event_id: str
    user_id: str
    item_id: str
    type: str
    timestamp: float
    """Unix seconds."""
    value: float | None = None
    request_id: str | None = None
    """The recommendation that led to it; None: not known."""


class UserProfile(msgspec.Struct, frozen=True, weakref=True):
    """What ranking knows of a user. A struct, as all that a request makes anew: a dataclass takes ten times as long.

    `taste` is (t,) float32, not normalised: it is updated by decay and addition; `model/space.py` says what its parts
    are. `seen` is (n,) uint64, sorted item keys. `recent` are the item ids liked last, newest first, and
    `recent_vectors` (len(recent), d) float32 their contexts. `trail` is (m,) uint64, the keys of the last likes, newest
    first, `trail_weights` (m,) float32 what each weighs, and `trail_at` (m,) uint32 its number among the likes. `felt`
    is (ceil(n / 8),) uint8: one bit for each seen item, whether the taste contains it.
    """

    taste: Floats
    seen: Keys
    felt: npt.NDArray[np.uint8]
    recent: tuple[str, ...]
    recent_vectors: Floats
    trail: Keys
    trail_weights: Floats
    trail_at: npt.NDArray[np.uint32]
    likes: int
    """Likes that the taste has aged by."""
    sequence: int
    """Number of the last event it contains; 0 for a user of whom nothing is known."""
    session_at: float = -math.inf
    """Unix seconds of the last like of an item that was new to the user."""
    session: int = 0
    """Such likes in the session that it is of, see `profiles.position`."""
    cut: bool = False
    """Whether older events have left the user's bounded history."""
    shunned: tuple[str, ...] = ()
    """Ids of the items disliked last, newest first."""
    shunned_vectors: Floats = msgspec.field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(len(shunned), d) float32 their contexts."""
    stale: bool = False
    """Whether it is only what an older profile still tells, because a new one was not ready in time."""

    @property
    def cold(self) -> bool:
        """Whether no like tells where the taste lies: dislikes only say where it does not."""
        return not (len(self.trail) and np.count_nonzero(self.taste))


@lru_cache(8)  # every batch asks for the one of its version
def unknown_user(dimension: int, recent_dimension: int | None = None) -> UserProfile:
    """`dimension` is that of the taste; `recent_dimension` None: the same."""
    taste, recent = np.zeros(dimension, np.float32), np.zeros((0, recent_dimension or dimension), np.float32)
    keys, weights = np.zeros(0, np.uint64), np.zeros(0, np.float32)
    bits, numbers = np.zeros(0, np.uint8), np.zeros(0, np.uint32)
    return UserProfile(taste, keys, bits, (), recent, keys, weights, numbers, 0, 0)


Op = Literal["any", "range", "exists"]
CREATED_AT = "created_at"
"""Every item's own time can be filtered by, without being declared."""
ITEM_ID = "item_id"
"""So can its id."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that is known only with the request: that of the named attribute, which is declared of users or of the
    context of requests.
    """

    of: Literal["user", "context"]
    name: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of one attribute: `any` of values, a closed-open mix of bounds, or presence."""

    key: str
    op: Op
    values: tuple[str | float, ...] = ()
    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    high_open: bool = False
    exists: bool = True
    references: tuple[Reference, ...] = ()
    """Further values of `any`. Shards never see them: see `data/references.py`."""


class _Hashed:
    """Room for a hash, outside of a dataclass' fields."""

    __slots__ = ("_hash",)
    _hash: int


@dataclass(frozen=True, slots=True)
class Filter(_Hashed):
    """An item matches when all of `must` hold, at least one of `should` (if there is any), none of `must_not`."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    also: tuple[Filter, ...] = ()
    """Filters that an item has to match as well."""

    def __hash__(self) -> int:
        """Worked out once: a filter may name hundreds of items, and each batch looks several times for what is kept of
        the same few.
        """
        try:
            return self._hash
        except AttributeError:
            own = hash((self.must, self.should, self.must_not, self.also))
            object.__setattr__(self, "_hash", own)
            return own

    def with_(self, other: Filter | None) -> Filter:
        """What matches both."""
        if other is None:
            return self
        also = (*self.also, *other.also)
        if self.should and other.should:
            should, also = self.should, (*also, Filter(should=other.should))
        else:
            should = self.should or other.should
        return Filter((*self.must, *other.must), should, (*self.must_not, *other.must_not), also)


RuleKind = Literal["boost", "bury", "fresh", "pin", "promote"]


class Rule(msgspec.Struct, frozen=True):
    """What an operator wants of the items that match a filter. `data/rules.py` says what each kind does."""

    name: str
    kind: RuleKind
    filter: Filter | None = None
    """None: all items."""
    starts_at: float = -math.inf
    """Unix seconds from which on it holds."""
    ends_at: float = math.inf
    """Unix seconds at which it ends."""
    weight: float = 0.0
    """Added to the score of a match, times its freshness where the kind is `fresh`; 0 for `pin` and `promote`."""
    half_life_s: float = math.inf
    """Seconds after `created_at` in which the freshness of a match halves."""
    position: int = 0
    """Place from 1, of `pin`."""
    share: float = 0.0
    """Of the places of a slate, of `promote`."""
    proposes: int = 0
    """Matches that become candidates, beside those that its kind needs."""

    def active(self, now: float) -> bool:
        """Whether it holds at `now`, in Unix seconds."""
        return self.starts_at <= now < self.ends_at


class RecQuery(msgspec.Struct, frozen=True):
    """One request for a slate."""

    k: int
    scenario: str = "home"
    user_id: str | None = None
    vector: Floats | None = None
    """(d,) float32, the encoded text of a search; None: no text."""
    encoder: str | None = None
    """Fingerprint of the encoder that made the vector; None: the served version's, or no text."""
    like_item: str | None = None
    """The item whose neighbours are wanted; None: none."""
    items: tuple[str, ...] | None = None
    """The items to put in order; None: choose among all."""
    filter: Filter | None = None
    exclude: tuple[str, ...] = ()
    include_seen: bool = False
    diversity: float | None = None
    """0 to 1; None: the scenario's."""
    explore: float | None = None
    """0 to 1, share of places for new items; None: the scenario's."""
    explain: bool | Literal["full"] = False
    """`full`: what trees add is told by signal as well."""
    rules: tuple[Rule, ...] = ()
    """Beside the scenario's; one of the same name replaces it."""
    context: Mapping[str, AttributeValue] = msgspec.field(default_factory=dict)
    """What the caller says of the moment, by declared name."""
    basket: tuple[Interaction, ...] = ()
    """Events that count for this answer alone, and are not stored."""
    since: float | None = None
    """By time.monotonic(): when its caller began to wait, which the budget counts from; None: when its batch leaves."""
    request_id: str | None = None
    """What events name the answer by; None: the answer is not logged."""
    after: tuple[str, ...] = ()
    """Items of a list that this slate goes on with: caps, diversity and equal items count them as shown. They are to be
    in `exclude` as well."""
    noted: bool = True
    """Whether rotation counts the items as shown; False: they are ranked for pages that may never be asked for."""
