"""Writes of events into users' histories. What is returned was acknowledged by Redis."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from redis.exceptions import RedisError

from recsys.config.serving import Serving
from recsys.datatypes import Interaction
from recsys.errors import Unavailable
from recsys.ranking.served_version import Serve
from recsys.routing import feed_of
from recsys.serving.profile_loading import ProfileLoader
from recsys.serving.slate_writer import SlateWriter
from recsys.state.users import Counted, UserStore

_WEIGHTS = 1000
"""Types and values whose weights are remembered."""


@dataclass(frozen=True, slots=True)
class Told:
    """The events of one call, in its order."""

    events: Sequence[Interaction]
    untimed: frozenset[int] = frozenset()
    """Places of the events whose time is the platform's."""
    fold: bool = True
    """Whether they go into the cached profiles at once. Otherwise the next read of a user makes the profile."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outcome of one call."""

    accepted: int
    duplicates: int
    """Events whose event_id the user's history holds already."""
    too_old: int
    """Refused events: as old as those that have left the user's history, or from before the user was erased."""
    unknown_items: tuple[str, ...]
    """Items of accepted events that no shard holds. They count as seen, and become part of the taste within seconds
    after the items are there."""


def part_of(call: Told, places: Sequence[int]) -> Told:
    """Some of the events of a call, as a call of their own."""
    untimed = frozenset(n for n, place in enumerate(places) if place in call.untimed)
    return Told([call.events[place] for place in places], untimed, call.fold)


def together(parts: Sequence[Recorded]) -> Recorded:
    """The outcome of a call that was made in parts."""
    unknown = dict.fromkeys(item for part in parts for item in part.unknown_items)
    return Recorded(
        sum(part.accepted for part in parts),
        sum(part.duplicates for part in parts),
        sum(part.too_old for part in parts),
        tuple(unknown),
    )


class EventWriter:
    """`slates`: the log, which has the outcomes that are part of no history."""

    def __init__(self, users: UserStore, profiles: ProfileLoader, settings: Serving, slates: SlateWriter) -> None:
        self._users = users
        self._slates = slates
        self._profiles = profiles
        self._settings = settings
        self._unkept = frozenset(name for name, kind in settings.event_types.items() if not kind.kept)
        self._weights: dict[tuple[str, float | None], float] = {}
        """By type and value."""

    async def record_many(self, calls: Sequence[Told], serve: Serve) -> list[Recorded | Exception]:
        """Record the events of several calls, in one Redis trip and one call a shard.

        Raises Unavailable when Redis does not confirm: then the callers send the events again, with the same ids.
        """
        by_user: dict[str, list[Counted]] = {}
        outcomes: list[Interaction] = []
        for call in calls:
            untimed = call.untimed
            for place, event in enumerate(call.events):
                if event.type in self._unkept:
                    outcomes.append(event)
                    continue
                counted = self.counted(event, timed=place not in untimed)
                if event.user_id in by_user:
                    by_user[event.user_id].append(counted)
                else:
                    by_user[event.user_id] = [counted]
        try:
            if outcomes:
                await self._slates.tell(outcomes)
            appended = await self._users.append(by_user, serve.version, serve.space.unknown_user()) if by_user else {}
        except (RedisError, OSError) as error:
            raise Unavailable("the event store does not answer; send the events again, with the same ids") from error
        folding = {event.user_id for call in calls if call.fold for event in call.events}
        unknown = set(await self._profiles.refresh(appended, folding, serve, self._settings.budget_s))
        fresh = {(u, e.event_id) for u, a in appended.items() for e in a.fresh}
        too_old = {(u, e.event_id) for u, a in appended.items() for e in a.too_old}
        return [self._recorded(call, fresh, too_old, unknown) for call in calls]

    def _recorded(
        self, call: Told, fresh: set[tuple[str, str]], too_old: set[tuple[str, str]], unknown: AbstractSet[str]
    ) -> Recorded:
        """Take the call's events out of the `fresh` ones: sent again in the batch, they are duplicates."""
        accepted, old, items = 0, 0, dict[str, None]()
        for event in call.events:
            if event.type in self._unkept:
                accepted += 1
            elif (key := (event.user_id, event.event_id)) in fresh:
                fresh.remove(key)
                accepted += 1
                if event.item_id in unknown:
                    items[event.item_id] = None
            else:
                old += key in too_old
        return Recorded(accepted, len(call.events) - accepted - old, old, tuple(items))

    def counted(self, event: Interaction, *, timed: bool = True) -> Counted:
        """The event with what it counts for."""
        kind = event.type, event.value
        if (weight := self._weights.get(kind)) is None:
            weight = max(self._profiles.taste.weight(event), 0.0)
            if len(self._weights) < _WEIGHTS:
                self._weights[kind] = weight
        return Counted(event, weight, feed_of(event.item_id), timed)
