"""Folding interactions into a user's profile: pure functions of what was there and what is new.

Of an item the user's newest word counts. A word that is no like (a dislike, a rating under `liked_from`) takes back the
likes before it. Likes since then are one like, at the time of the newest and the weight of the strongest: a product
page that is viewed again after the purchase takes nothing back.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.config import EventType
from recsys.datatypes import Floats, Interaction, UserProfile, item_keys
from recsys.model.space import Space

RECENT = 3
"""Liked items that a profile keeps with their vectors, for what is like them."""
TRAIL = 20
"""Likes that a profile keeps by key, for what goes with exactly them: at a half-life of 4 the ones before weigh 3 %."""


SESSION_GAP_S = 1800.0
"""Seconds without an event that end a session, as web analytics agree."""

_FELT = 1e-3
"""Share of a like's weight under which it no longer counts in a taste of texts."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What the event types mean, and how fast a like fades."""

    types: Mapping[str, EventType]
    half_life: float
    """Likes."""

    def weight(self, event: Interaction) -> float:
        """The like in an event; 0 when it is none, or of a type that is no longer declared."""
        kind = self.types.get(event.type)
        if kind is None or (kind.liked_from is not None and (event.value is None or event.value < kind.liked_from)):
            return 0.0
        return kind.weight

    def speaks(self, event: Interaction) -> bool:
        """Whether the event is a word about its item. One of a type that is no longer declared says nothing."""
        return event.type in self.types

    @property
    def fingerprint(self) -> bytes:
        """8 bytes that differ when the settings do: a profile made with others is not up to date."""
        types = sorted((name, kind.weight, kind.liked_from) for name, kind in self.types.items())
        return hashlib.blake2b(repr((types, self.half_life)).encode(), digest_size=8).digest()

    @property
    def decay(self) -> float:
        return float(0.5 ** (1.0 / self.half_life))


def position(profile: UserProfile, now: float) -> int:
    """Items liked in the session that is under way at `now`, in Unix seconds; 0: a new one begins.

    Each counts once, as in what is learned from: an item that is viewed, clicked and bought is one.
    """
    return profile.session if now - profile.session_at <= SESSION_GAP_S else 0


def standing(events: Sequence[Interaction], taste: Taste) -> list[float]:
    """The weight of each event, oldest first; 0 where a later event about the item takes it back."""
    weights = [taste.weight(e) for e in events]
    signs: dict[str, int] = {}
    for n in range(len(events) - 1, -1, -1):
        if not taste.speaks(events[n]):
            continue
        item_id, sign = events[n].item_id, (weights[n] > 0) - (weights[n] < 0)
        newest = signs.setdefault(item_id, sign)
        if sign != newest:
            signs[item_id] = 0  # older ones do not count either
        if not signs[item_id]:
            weights[n] = 0.0
    return weights


def needed(events: Sequence[Interaction], taste: Taste, space: Space) -> list[str]:
    """Items whose vectors the taste of a whole history is made of, those of the newest likes first.

    In a taste of texts the likes before the last ten half-lives weigh under a thousandth each and are left out. The
    long part of a learned taste fades by half in 500 likes, so there every like counts.
    """
    weights = standing(events, taste)
    liked = dict.fromkeys(e.item_id for e, w in zip(reversed(events), reversed(weights), strict=True) if w)
    most = len(liked) if space.learned else math.ceil(taste.half_life * -math.log2(_FELT))
    return list(liked)[:most]


def fold(
    profile: UserProfile,
    events: Sequence[Interaction],
    vectors: Mapping[str, Floats],
    taste: Taste,
    sequence: int,
    space: Space | None = None,
) -> UserProfile | None:
    """The profile after further events, oldest first; `vectors` are the items' contexts. `space` None: text alone.

    `taste <- decay ** m * taste + sum of decay ** (m - number) * weight * vector` over the likes that stand and whose
    items have vectors, m of them, each part of the taste with its own decay. A like of an item that is liked already
    replaces the one before: right after that one it does not age the others. Folding one by one and folding all at once
    give the same. Every item of an event counts as seen.

    None when the events take back, or repeat, a like that the profile holds no more by itself: then it is to be made
    of the whole history. Never None for the profile of an unknown user.
    """
    space = space or Space(text=len(profile.taste))
    ids = dict.fromkeys(e.item_id for e in events)
    keys = item_keys(ids)
    key_of = dict(zip(ids, keys.tolist(), strict=True))
    at = np.searchsorted(profile.seen, keys)
    bits = np.unpackbits(profile.felt, count=len(profile.seen)).astype(bool)
    met = np.zeros(len(keys), bool)
    inside = at < len(profile.seen)
    met[inside] = profile.seen[at[inside]] == keys[inside]
    felt = {key for key, there, n in zip(keys.tolist(), met.tolist(), at.tolist(), strict=True) if there and bits[n]}
    words = _Words(profile, felt)
    for event, weight in zip(events, standing(events, taste), strict=True):
        if taste.speaks(event) and not words.say(
            event.item_id, key_of[event.item_id], weight, vectors.get(event.item_id)
        ):
            return None
    seen, felt_bits = _seen(profile, keys, bits, {key for key, word in words.said.items() if word.weight})
    first: dict[str, float] = {}
    for event in events:  # whether an item's first event is a like
        first.setdefault(event.item_id, event.timestamp if taste.weight(event) > 0 else math.nan)
    times = [t for t, there in zip(first.values(), met.tolist(), strict=True) if not there and not math.isnan(t)]
    session_at, session = _session(profile, times)
    liked = words.liked()
    recent = [(w.item_id, w.vector) for w in liked[:RECENT]]
    said = {w.item_id for w in liked}
    before = zip(profile.recent, profile.recent_vectors, strict=True)
    recent = [*recent, *((i, v) for i, v in before if i not in said)][:RECENT]
    trail = [(w.key, w.weight, w.number) for w in liked[:TRAIL]]
    trail = [*trail, *((k, *old) for k, old in words.trail.items() if k not in words.said)][:TRAIL]
    return UserProfile(
        taste=words.taste(space, taste.decay),
        seen=seen,
        felt=felt_bits,
        recent=tuple(i for i, _ in recent),
        recent_vectors=np.stack([v for _, v in recent]) if recent else profile.recent_vectors,
        trail=np.array([k for k, _, _ in trail], np.uint64),
        trail_weights=np.array([w for _, w, _ in trail], np.float32),
        trail_at=np.array([n for _, _, n in trail], np.uint32),
        likes=words.likes,
        sequence=sequence,
        session_at=session_at,
        session=session,
        cut=profile.cut,
    )


@dataclass(frozen=True, slots=True)
class _Word:
    """The newest word about an item. `number` is its place among the likes; `weight` 0: it is no like."""

    item_id: str
    key: int
    weight: float
    number: int
    vector: Floats


class _Words:
    """What further events say of items, beside what a profile holds. `felt` are keys that its taste contains."""

    def __init__(self, profile: UserProfile, felt: set[int]) -> None:
        rows = zip(profile.trail_weights.tolist(), profile.trail_at.tolist(), strict=True)
        self.trail: dict[int, tuple[float, int]] = dict(zip(profile.trail.tolist(), rows, strict=True))
        """Key -> (weight, number), newest first."""
        self.likes = profile.likes
        self.said: dict[int, _Word] = {}
        self._profile = profile
        self._felt = felt
        self._replaced: list[tuple[float, int, Floats]] = []
        """Likes in the profile's taste that do not stand any more."""
        self._last = next(iter(self.trail), None) if self.trail else None
        if self._last is not None and self.trail[self._last][1] != self.likes:
            self._last = None
        self._nothing = np.zeros(0, np.float32)

    def say(self, item_id: str, key: int, weight: float, vector: Floats | None) -> bool:
        """Whether the profile could take it; a like of an item without a vector is none."""
        if vector is None:
            weight = 0.0
        word = self.said.get(key)
        before = 0.0 if word is None else word.weight
        if key in self._felt:
            if weight <= 0 or vector is None or key not in self.trail:
                return False
            self._felt.remove(key)
            before, number = self.trail[key]
            self._replaced.append((before, number, vector))
        if not weight or vector is None:
            # Only what stands is liked, so no event before this one was.
            self.said.setdefault(key, _Word(item_id, key, 0.0, 0, self._nothing))
            return True
        if weight > 0 and before > 0:
            weight = max(weight, before)
        if not (key == self._last and before > 0 and weight > 0):
            self.likes += 1
        self._last = key if weight > 0 else None
        self.said.pop(key, None)
        self.said[key] = _Word(item_id, key, weight, self.likes, vector)
        return True

    def liked(self) -> list[_Word]:
        """Newest first."""
        return [word for word in reversed(self.said.values()) if word.weight > 0]

    def taste(self, space: Space, text_decay: float) -> Floats:
        """(taste_width,) float32."""
        was = self._profile.taste
        terms = [(w.weight, w.number, w.vector) for w in self.said.values() if w.weight]
        terms += [(-weight, number, vector) for weight, number, vector in self._replaced]
        if not terms:
            return was
        weights = np.array([w for w, _, _ in terms], np.float32)
        ages = np.array([self.likes - number for _, number, _ in terms], np.float32)
        contexts = np.stack([v for _, _, v in terms])
        added = [weights * decay**ages @ contexts[:, part] for part, decay in space.parts(text_decay)]
        faded = space.decays(text_decay) ** np.float32(self.likes - self._profile.likes) * was
        return (faded + np.concatenate(added)).astype(np.float32, copy=False)


def _seen(
    profile: UserProfile, keys: npt.NDArray[np.uint64], bits: npt.NDArray[np.bool_], felt: set[int]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Sorted keys of all that is seen, and the packed bits of which of it the taste contains."""
    seen = np.union1d(profile.seen, keys).astype(np.uint64)
    contains = np.zeros(len(seen), bool)
    contains[np.searchsorted(seen, profile.seen)] = bits
    contains[np.searchsorted(seen, np.fromiter(felt, np.uint64, len(felt)))] = True
    return seen, np.packbits(contains)


def _session(profile: UserProfile, times: Sequence[float]) -> tuple[float, int]:
    """After likes at these times, oldest first: when the last was, and how many its session has."""
    last, count = profile.session_at, profile.session
    for time in times:
        last, count = time, 1 if time - last > SESSION_GAP_S else count + 1
    return last, count
