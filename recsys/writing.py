"""Writes: events into users' histories, items into the log. What is returned was acknowledged by Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys import counting
from recsys.config import Serving
from recsys.datatypes import Floats, Interaction, Item
from recsys.errors import Unavailable
from recsys.itemlog import Change, Delete, ItemLog, Upsert
from recsys.profile_loading import ProfileLoader
from recsys.routing import Router
from recsys.serving import Serve
from recsys.users import Counted, UserStore


@dataclass(frozen=True, slots=True)
class Told:
    """The events of one call, in its order. `untimed` are the places of those whose time is the platform's."""

    events: Sequence[Interaction]
    untimed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of the events of one call."""

    accepted: int
    duplicates: int
    """Events whose event_id the user's history holds already."""
    too_old: int
    """Events not taken: as old as what has left the user's history, or from before the user was erased."""
    unknown_items: tuple[str, ...]
    """Items of accepted events that no shard holds: seen all the same, and part of the taste within seconds after
    the items are there."""


class EventWriter:
    def __init__(self, users: UserStore, profiles: ProfileLoader, settings: Serving, router: Router) -> None:
        self._users = users
        self._router = router
        self._profiles = profiles
        self._settings = settings

    async def record_many(self, calls: Sequence[Told], serve: Serve) -> list[Recorded | Exception]:
        """The events of several calls, in one Redis trip and one call a shard.

        Raises Unavailable when Redis does not confirm: then the events are to be sent again, with their ids.
        """
        by_user: dict[str, list[Counted]] = {}
        for call in calls:
            for place, event in enumerate(call.events):
                by_user.setdefault(event.user_id, []).append(self._counted(event, place not in call.untimed))
        try:
            appended = await self._users.append(by_user, serve.version, serve.space.unknown_user())
        except (RedisError, OSError) as error:
            raise Unavailable("the event store does not answer; send the events again, with the same ids") from error
        unknown = set(await self._profiles.refresh(appended, serve, self._settings.budget_s))
        fresh = {(u, e.event_id) for u, a in appended.items() for e in a.fresh}
        too_old = {(u, e.event_id) for u, a in appended.items() for e in a.too_old}
        results: list[Recorded | Exception] = []
        for call in calls:
            new, old = [], 0
            for event in call.events:
                told = (event.user_id, event.event_id)
                old += told in too_old
                if told in fresh:
                    fresh.remove(told)  # sent again in this batch, it is a duplicate
                    new.append(event)
            items = tuple(dict.fromkeys(e.item_id for e in new if e.item_id in unknown))
            results.append(Recorded(len(new), len(call.events) - len(new) - old, old, items))
        return results

    def _counted(self, event: Interaction, timed: bool) -> Counted:
        weight = max(self._profiles.taste.weight(event), 0.0)
        return Counted(event, weight, self._router.feed(event.item_id), timed)


@dataclass(frozen=True, slots=True)
class Logged:
    """What one call wrote into the item log, durable."""

    items: list[tuple[int, str]]
    """(shard, sequence number) of each item's own entry."""
    newest: dict[int, str]
    """The last entry of each shard that was written to; once it is applied, so are those before it."""


class ItemWriter:
    def __init__(self, redis: Redis, router: Router) -> None:
        self._log = ItemLog(redis)
        self._redis = redis
        self._router = router

    async def upsert(self, items: Sequence[Item], vectors: Floats, fingerprint: str) -> Logged:
        owners = [self._router.owner(item) for item in items]
        changes: list[tuple[int, Change]] = []
        for item, vector, owner in zip(items, vectors, owners, strict=True):
            changes.append((owner, Upsert(item, vector, fingerprint)))
            # Routed by an attribute, an item moves when the attribute changes: the others must let go of it.
            changes += [(n, Delete(item.item_id)) for n in self._router.holders(item.item_id) if n != owner]
        written = await self._write(changes)
        upserted = [w for w, (_, change) in zip(written, changes, strict=True) if isinstance(change, Upsert)]
        newest = {n: sequence for (n, _), sequence in zip(changes, written, strict=True)}
        return Logged(list(zip(owners, upserted, strict=True)), newest)

    async def delete(self, item_id: str) -> Logged:
        """An entry in every shard that may hold the item; the first stands for it."""
        holders = self._router.holders(item_id)
        written = list(zip(holders, await self._write([(n, Delete(item_id)) for n in holders]), strict=True))
        with contextlib.suppress(RedisError, OSError):  # deleted it is: then its likes only live on for longer
            await counting.release(self._redis, [item_id])
        return Logged(written[:1], dict(written))

    async def _write(self, changes: Sequence[tuple[int, Change]]) -> list[str]:
        try:
            return await self._log.append(changes)
        except (RedisError, OSError) as error:
            raise Unavailable("the item log does not answer; send the items again") from error
