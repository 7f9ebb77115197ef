"""Folding of events into a user's profile, as pure functions. `taste.py` decides which events about an item count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec import structs

from recsys.datatypes import Floats, Interaction, UserProfile, item_keys
from recsys.model.space import Space
from recsys.model.taste import SHUNNED, Taste, standing

RECENT = 3
"""Last likes that a profile keeps with their vectors, for similar items."""
TRAIL = 20
"""Last likes that a profile keeps by key, for items related to them. At a half-life of 4, earlier ones weigh 3 %."""
SESSION_GAP_S = 1800.0
"""Seconds without an event that end a session, the convention of web analytics."""


def position(profile: UserProfile, now: float) -> int:
    """Return the items liked in the session at `now`, in Unix seconds. 0: a new session begins.

    Each item counts once, as in training: an item that is viewed, clicked and bought is one.
    """
    return profile.session if now - profile.session_at <= SESSION_GAP_S else 0


def fold(
    profile: UserProfile,
    events: Sequence[Interaction],
    vectors: Mapping[str, Floats],
    taste: Taste,
    sequence: int,
    space: Space | None = None,
) -> UserProfile | None:
    """Return the profile after further events, oldest first. `sequence`: the number of the user's last change.

    `vectors`: the items' contexts, (width,) float32. An item without one counts as seen and not as liked. `space` None:
    texts alone.

    `taste <- decay ** m * taste + sum of decay ** (m - number) * weight * vector` over the m likes that count and whose
    items have vectors. Each part of the taste has its own decay. A like of an item that is already liked replaces the
    earlier one, and does not age the others if it follows directly. Folding events one by one or all at once gives the
    same profile. Every item of an event counts as seen.

    None: the events cancel a like, or repeat one that is older than the profile's trail, whose share of the taste is
    unknown. The caller then folds the whole history. It is never None for the profile of an unknown user.
    """
    space = space or Space(text=len(profile.taste))
    items = _Items.of(profile, events)
    words = _Words(profile, items.in_taste)
    for event, weight in zip(events, standing(events, taste), strict=True):
        vector = vectors.get(event.item_id)
        if taste.speaks(event) and not words.say(event.item_id, items.keys[event.item_id], weight, vector):
            return None
    seen, felt = _seen(profile, items, {key for key, word in words.said.items() if word.weight})
    session_at, session = _session(profile, _new_likes(events, items, taste))
    liked = words.liked()
    recent, recent_vectors = _newest(profile.recent, profile.recent_vectors, liked, RECENT)
    shunned, shunned_vectors = _newest(profile.shunned, profile.shunned_vectors, words.disliked(), SHUNNED)
    trail, trail_weights, trail_at = _trail(words, liked)
    return UserProfile(
        taste=words.taste(space, taste.decay),
        seen=seen,
        felt=felt,
        recent=recent,
        recent_vectors=recent_vectors,
        trail=trail,
        trail_weights=trail_weights,
        trail_at=trail_at,
        likes=words.likes,
        sequence=sequence,
        session_at=session_at,
        session=session,
        cut=profile.cut,
        shunned=shunned,
        shunned_vectors=shunned_vectors,
    )


def with_basket(
    profile: UserProfile,
    events: Sequence[Interaction],
    vectors: Mapping[str, Floats],
    taste: Taste,
    space: Space,
) -> UserProfile:
    """The profile for one answer, with events that are not stored.

    Where they take back likes that only the history could tell, those stand.
    """
    ordered = sorted(events, key=lambda event: event.timestamp)
    folded = fold(profile, ordered, vectors, taste, profile.sequence, space)
    return profile if folded is None else structs.replace(folded, stale=profile.stale)


@dataclass(frozen=True, slots=True)
class _Items:
    """The items of new events, looked up in a profile."""

    keys: Mapping[str, int]
    """Item id -> its key, in order of the first events."""
    fresh: frozenset[str]
    """Ids that the user had not seen."""
    in_taste: set[int]
    """Keys that the profile's taste contains."""
    felt: npt.NDArray[np.bool_]
    """(len(profile.seen),) which of the seen items the taste contains."""

    @classmethod
    def of(cls, profile: UserProfile, events: Sequence[Interaction]) -> _Items:
        ids = list(dict.fromkeys(event.item_id for event in events))
        keys = item_keys(ids)
        places = np.searchsorted(profile.seen, keys)
        seen = np.zeros(len(keys), bool)
        inside = places < len(profile.seen)
        seen[inside] = profile.seen[places[inside]] == keys[inside]
        felt = np.unpackbits(profile.felt, count=len(profile.seen)).astype(bool)
        in_taste = np.zeros(len(keys), bool)
        in_taste[seen] = felt[places[seen]]
        fresh = frozenset(item_id for item_id, was_seen in zip(ids, seen.tolist(), strict=True) if not was_seen)
        return cls(dict(zip(ids, keys.tolist(), strict=True)), fresh, set(keys[in_taste].tolist()), felt)


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

    def disliked(self) -> list[_Word]:
        """Newest first."""
        return [word for word in reversed(self.said.values()) if word.weight < 0]

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


def _seen(profile: UserProfile, items: _Items, liked: set[int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Sorted keys of all that is seen, and the packed bits of which of it the taste contains.

    `liked`: keys of the new events' items that the taste contains now.
    """
    fresh = np.array(sorted({items.keys[item_id] for item_id in items.fresh}), np.uint64)
    places = np.searchsorted(profile.seen, fresh) + np.arange(len(fresh))
    before = np.ones(len(profile.seen) + len(fresh), bool)
    before[places] = False
    seen, felt = np.empty(len(before), np.uint64), np.zeros(len(before), bool)
    seen[places], seen[before], felt[before] = fresh, profile.seen, items.felt
    felt[np.searchsorted(seen, np.fromiter(liked, np.uint64, len(liked)))] = True
    return seen, np.packbits(felt)


def _new_likes(events: Sequence[Interaction], items: _Items, taste: Taste) -> list[float]:
    """Times of the first events of items that the user had not seen, where those are likes; oldest first."""
    first: dict[str, Interaction] = {}
    for event in events:
        if event.item_id in items.fresh:
            first.setdefault(event.item_id, event)
    return [event.timestamp for event in first.values() if taste.weight(event) > 0]


def _session(profile: UserProfile, times: Sequence[float]) -> tuple[float, int]:
    """After likes at these times, oldest first: when the last was, and how many its session has."""
    last, count = profile.session_at, profile.session
    for time in times:
        last, count = time, 1 if time - last > SESSION_GAP_S else count + 1
    return last, count


def _newest(ids: tuple[str, ...], vectors: Floats, words: Sequence[_Word], most: int) -> tuple[tuple[str, ...], Floats]:
    """Ids of the items of these words and behind them the others, newest first; and (n, width) float32 vectors."""
    new = {word.item_id: word.vector for word in words}
    older = zip(ids, vectors, strict=True)
    newest = [*new.items(), *((item_id, vector) for item_id, vector in older if item_id not in new)][:most]
    return tuple(item_id for item_id, _ in newest), np.stack([vector for _, vector in newest]) if newest else vectors


def _trail(words: _Words, liked: Sequence[_Word]) -> tuple[npt.NDArray[np.uint64], Floats, npt.NDArray[np.uint32]]:
    """(n,) keys, weights and numbers of the last likes, newest first."""
    new = [(word.key, word.weight, word.number) for word in liked[:TRAIL]]
    older = [(key, weight, number) for key, (weight, number) in words.trail.items() if key not in words.said]
    trail = [*new, *older][:TRAIL]
    return (
        np.array([key for key, _, _ in trail], np.uint64),
        np.array([weight for _, weight, _ in trail], np.float32),
        np.array([number for _, _, number in trail], np.uint32),
    )
