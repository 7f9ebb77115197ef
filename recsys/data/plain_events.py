"""Events of a bulk list as interactions. Those that need no correction are taken without the model of their records.

`EventIn` looks at each field with a validator of its own and corrects spellings. That takes three times as long as all
else that reading a file does. Nearly all events are plain: ids of printable ASCII without white space at the ends, a
known type, a time in seconds. Those are converted at once, and the others go through the model, which alone knows the
words of refusals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from recsys.config.scenarios import EventType
from recsys.config.serving import Limits
from recsys.data.records import ID_BYTES, EventIn, Refused, StatedEvent, validate_each
from recsys.data.validation import check_event, check_outcome
from recsys.datatypes import Interaction

_SINCE_1973 = 1e8
"""Unix seconds from which on a number looks like nothing else, see `plausible_times.py`."""


MICROSECOND = 1e-6
"""Seconds between events of one call that came without a time."""


class _Raw(Interaction, frozen=True, forbid_unknown_fields=True, gc=False):
    """An event with fields of the right types, not yet checked, and perhaps without a time."""

    timestamp: float | None = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """The outcome of a bulk list."""

    events: list[Interaction]
    """In the order of the list."""
    places: Sequence[int]
    """Their positions in the list."""
    refused: list[Refused]
    untimed: frozenset[int]
    """Which of `events` came without a time."""


def stated_events(raw: Sequence[object], types: Mapping[str, EventType], limits: Limits, now: float) -> ReadEvents:
    """Return the events that a caller states. `now`: Unix seconds; one without a time has it, and later ones of the
    list a microsecond more each.
    """
    plain = _Plain(types, limits, now)
    kept = frozenset(name for name, kind in types.items() if kind.kept)

    def slow(some: Sequence[object]) -> tuple[list[tuple[int, EventIn]], list[Refused]]:
        return validate_each(StatedEvent, some, lambda e: check_outcome(check_event(e, types, limits, now), types))

    return _read(raw, lambda e: plain(e) and (e.request_id is not None or e.type in kept), slow, now)


def file_events(raw: Sequence[object], types: Collection[str], limits: Limits, now: float) -> ReadEvents:
    """Return the events of a file, each of which has a time. `now`: Unix seconds."""
    plain = _Plain(types, limits, now)

    def slow(some: Sequence[object]) -> tuple[list[tuple[int, EventIn]], list[Refused]]:
        return validate_each(EventIn, some, lambda e: check_event(e, types, limits, now))

    return _read(raw, plain, slow, now)


class _Plain:
    """Says whether an event needs no correction and breaks no limit. False: the model decides."""

    def __init__(self, types: Collection[str], limits: Limits, now: float) -> None:
        self._types = types
        self._latest = now + limits.clock_skew_s
        self._ids: dict[str, bool] = {}

    def __call__(self, event: _Raw) -> bool:
        time, value, ids = event.timestamp, event.value, self._ids
        for one in (event.user_id, event.item_id):  # these come again and again
            if (good := ids.get(one)) is None:
                good = ids[one] = _is_plain(one)
            if not good:
                return False
        return (
            _is_plain(event.event_id)
            and event.type in self._types
            and (time is None or _SINCE_1973 <= time <= self._latest)
            and (value is None or math.isfinite(value))
            and (event.request_id is None or _is_plain(event.request_id))
        )


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= ID_BYTES and text.isascii() and text.isprintable() and text[0] != " " != text[-1]


def _read(
    raw: Sequence[object],
    plain: Callable[[_Raw], bool],
    slow: Callable[[Sequence[object]], tuple[list[tuple[int, EventIn]], list[Refused]]],
    now: float,
) -> ReadEvents:
    try:
        typed = msgspec.convert(raw, list[_Raw])
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        return _merged({}, range(len(raw)), *slow(raw), now)
    taken = {place: event for place, event in enumerate(typed) if plain(event)}
    if len(taken) == len(raw):
        return _merged(taken, (), [], [], now)
    others = [place for place in range(len(raw)) if place not in taken]
    return _merged(taken, others, *slow([raw[place] for place in others]), now)


def _merged(
    taken: dict[int, Any],
    others: Sequence[int],
    good: Sequence[tuple[int, Any]],
    refused: Sequence[Refused],
    now: float,
) -> ReadEvents:
    """`taken`: plain events by place. `good` and `refused`: of the others, by their position among these."""
    if good:
        taken = dict(sorted({**taken, **{others[n]: event for n, event in good}}.items()))
    events = [
        Interaction(
            e.event_id,
            e.user_id,
            e.item_id,
            e.type,
            now + place * MICROSECOND if e.timestamp is None else e.timestamp,
            e.value,
            e.request_id,
        )
        for place, e in taken.items()
    ]
    untimed = frozenset(n for n, e in enumerate(taken.values()) if e.timestamp is None)
    refusals = [Refused(others[one.index], one.field, one.code, one.message) for one in refused]
    return ReadEvents(events, list(taken), refusals, untimed)
