"""The newest events of all users, collected from the platform's histories in bounded memory, and what is known beside
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from redis.asyncio import Redis

from recsys.config.scenarios import EventType
from recsys.config.whole import Config
from recsys.data.dislikes import Dislikes
from recsys.data.interactions import Interactions
from recsys.datatypes import Interaction
from recsys.encoders.catalogue import Progress
from recsys.outcomes.contexts import contexts_of
from recsys.outcomes.log_files import LogFiles
from recsys.ranking.known_features import Attributes, Known
from recsys.reading.dataset_folder import weighted
from recsys.state.user_attributes import UserAttributes
from recsys.state.users import UserStore

_USERS = 100
"""Histories read at a time: 100 histories of 1,100 events take about 50 MB as Python objects."""

_DESCRIBED = 1000
"""Users whose attributes are read at a time."""


class NewestEvents:
    """Collects histories and keeps the newest events: at most twice `most`, in columns of 20 bytes an event."""

    def __init__(self, types: Mapping[str, EventType], catalogue: Sequence[str], most: int) -> None:
        """`types`: see `Serving.event_types`; `catalogue`: the item ids of the result; `most`: events of the result."""
        self._types = types
        self._catalogue = catalogue
        self._place = {item: i for i, item in enumerate(catalogue)}
        self._most = most
        self._parts: list[Interactions] = []

    def add(self, histories: Sequence[Sequence[Interaction]]) -> None:
        """Add complete histories, one for each user."""
        events = [event for history in histories for event in history]
        # Use the items that occur, in the catalogue's order: the catalogue may be a thousand times as long.
        few = sorted({event.item_id for event in events if event.item_id in self._place}, key=self._place.__getitem__)
        part = weighted(events, self._types, few)
        places = np.array([self._place[item] for item in few], np.int64)
        disliked = None if part.disliked is None else replace(part.disliked, items=places[part.disliked.items])
        columns = (part.offsets, places[part.items], part.weights, part.times, disliked)
        self._parts.append(Interactions(part.user_ids, self._catalogue, *columns))
        if self.kept > 2 * self._most:
            self._parts = [_joined(self._parts, self._catalogue).newest(self._most)]

    @property
    def kept(self) -> int:
        """Number of events in memory."""
        return sum(map(len, self._parts))

    def interactions(self) -> Interactions:
        """Return the newest events, with users in the order of their ids."""
        joined = _joined(self._parts, self._catalogue).newest(self._most)
        # A scan of Redis may return a key twice: keep a user's first history.
        _, first = np.unique(np.array(joined.user_ids, dtype=object), return_index=True) if joined.users else (0, [])
        return joined.select(np.array(first, np.int64))


class NamedAnswers:
    """Collects which answer the newest event of a user about an item names: of the newest events, at most twice `most`
    of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._named: dict[tuple[str, str], tuple[float, str]] = {}
        """User and item -> time of the event, in Unix seconds, and the answer's `request_id`."""

    def add(self, histories: Sequence[Sequence[Interaction]]) -> None:
        for history in histories:
            for event in history:
                pair = event.user_id, event.item_id
                if event.request_id is not None and self._named.get(pair, (-1.0,))[0] <= event.timestamp:
                    self._named[pair] = event.timestamp, event.request_id
        if len(self._named) > 2 * self._most:
            newest = sorted(self._named.items(), key=lambda one: one[1], reverse=True)[: self._most]
            self._named = dict(newest)

    def __len__(self) -> int:
        """Number of pairs of user and item in memory."""
        return len(self._named)

    def request_ids(self) -> set[str]:
        return {request for _, request in self._named.values()}

    def contexts(self, files: LogFiles) -> dict[tuple[str, str], Attributes]:
        """Return the context of each of these answers that had one. Raises OSError when the log cannot be read."""
        contexts = contexts_of(files, self.request_ids())
        return {pair: contexts[request] for pair, (_, request) in self._named.items() if request in contexts}


def _joined(parts: Sequence[Interactions], catalogue: Sequence[str]) -> Interactions:
    """Concatenate the users of all parts."""
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    return Interactions(
        [user for part in parts for user in part.user_ids],
        catalogue,
        np.cumsum(lengths),
        np.concatenate([np.zeros(0, np.int64), *(part.items for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.weights for part in parts)]),
        np.concatenate([np.zeros(0, np.float64), *(part.times for part in parts)]),
        _joined_dislikes(parts),
    )


def _joined_dislikes(parts: Sequence[Interactions]) -> Dislikes | None:
    if all(part.disliked is None for part in parts):
        return None
    no_items, no_times = np.zeros(0, np.int64), np.zeros(0, np.float64)
    each = [part.disliked or Dislikes(np.zeros(part.users + 1, np.int64), no_items, no_times) for part in parts]
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(one.offsets) for one in each)])
    return Dislikes(
        np.cumsum(lengths), np.concatenate([one.items for one in each]), np.concatenate([one.times for one in each])
    )


async def live_events(
    redis: Redis,
    kept: int,
    types: Mapping[str, EventType],
    catalogue: Sequence[str],
    most: int,
    say: Progress = lambda *_: None,
    named: NamedAnswers | None = None,
) -> Interactions:
    """Return the `most` newest likes of all users of the platform, of items in the catalogue.

    `kept`: see `Serving.history`. `types`: see `Serving.event_types`. `named`: is told of all events; None: nobody is.
    """
    newest = NewestEvents(types, catalogue, most)
    async for done, page in UserStore(redis, ttl_s=60, history=kept).everyone(_USERS):
        newest.add(page)
        if named is not None:
            named.add(page)
        say("events", done, done)
    return newest.interactions()


async def live_lessons(
    redis: Redis, config: Config, catalogue: Sequence[str], say: Progress = lambda *_: None
) -> tuple[Interactions, Known]:
    """Return what a training on the platform's histories learns from: likes of items in the catalogue, and what is
    known beside them. Raises OSError when contexts are declared and the log of answers cannot be read.
    """
    platform, serving = config.platform, config.serving
    most, types = serving.retrain.events, serving.event_types
    named = NamedAnswers(most) if platform.context else None
    data = await live_events(redis, serving.history, types, catalogue, most, say, named)
    users = await live_attributes(redis, data.user_ids) if platform.user_attributes else {}
    moments = {} if named is None else await asyncio.to_thread(named.contexts, LogFiles.of(platform))
    return data, Known(users, moments)


async def live_attributes(redis: Redis, user_ids: Sequence[str]) -> dict[str, Attributes]:
    """Return what is known of users beside events, of those of whom something is."""
    users, by_user = UserAttributes(redis, None), dict[str, Attributes]()
    for start in range(0, len(user_ids), _DESCRIBED):
        page = await users.load(user_ids[start : start + _DESCRIBED])
        by_user |= {user: attributes for user, attributes in page.items() if attributes}
    return by_user
