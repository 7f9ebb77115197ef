"""The ways of requests to the versions that answer: to the served one, and to the one that goes out beside it.

Each has queues of its own, for a batch is answered by one version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from recsys.answers import Slate
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.ranking.served_version import Serve
from recsys.serving.canary_follower import CanaryArm
from recsys.serving.event_writes import EventWriter, Recorded, Told, part_of, together
from recsys.serving.measures import Recording
from recsys.serving.pipeline import Recommender
from recsys.serving.version_follower import VersionFollower
from recsys.transport.coalescing import Coalescer, Flight

Landed = Callable[[str, Flight], None]
"""Called after every batch, with the name of its queue."""


class ServedVersion(msgspec.Struct, frozen=True):
    """A version that answers users."""

    version: str
    share: float
    """Of the users."""


class Lane:
    """The queues of a version. `serve` returns it; each batch asks once."""

    def __init__(
        self,
        serve: Callable[[], Serve],
        recommender: Recommender,
        events: EventWriter,
        recording: Recording,
        settings: Serving,
        landed: Landed,
    ) -> None:
        self.serve = serve
        self.slates: Coalescer[RecQuery, Slate] = Coalescer(
            lambda batch: recommender.recommend_many(batch, serve()),
            max_batch=settings.max_batch,
            max_in_flight=settings.flights,
            max_waiting=settings.max_waiting,
            max_wait_s=settings.budget_s / 2,
            budget_s=settings.budget_s,
            landed=lambda flight: landed("recommend", flight),
            answered=recording.slates,
        )
        self.events: Coalescer[Told, Recorded] = Coalescer(
            lambda batch: recording.events(events.record_many(batch, serve())),
            max_batch=settings.max_batch,
            max_in_flight=settings.flights,
            max_waiting=settings.max_waiting,
            landed=lambda flight: landed("events", flight),
        )


class Lanes:
    """`served` for most users, and `trial` for those who have the version that goes out beside the served one."""

    def __init__(self, follower: VersionFollower, lane: Callable[[Callable[[], Serve]], Lane]) -> None:
        """`lane` makes one for the version that its argument returns."""
        self._follower = follower
        self.served, self.trial = lane(lambda: follower.serve), lane(self.trial_serve)

    def of(self, user_id: str | None) -> Lane:
        canary = self._follower.canary
        return self.trial if canary is not None and canary.takes(user_id) else self.served

    def serve_of(self, user_id: str | None) -> Serve:
        """The version that answers a user."""
        canary = self._follower.canary
        return canary.serve if canary is not None and canary.takes(user_id) else self._follower.serve

    def trial_serve(self) -> Serve:
        """The version for a part of the users; the served one where that has just ended."""
        canary = self._follower.canary
        return self._follower.serve if canary is None else canary.serve

    def versions(self) -> list[ServedVersion]:
        """What answers users: the served version, and behind it the one that goes out beside it."""
        served, canary = self._follower.serve.version, self._follower.canary
        if canary is None or canary.serve.version == served:
            return [ServedVersion(served, 1.0)]
        return [ServedVersion(served, 1.0 - canary.share), ServedVersion(canary.serve.version, canary.share)]

    async def record(self, told: Told, canary: CanaryArm) -> Recorded:
        """Record events in two parts: each user's profile is of the version that answers the user."""
        here = [place for place, event in enumerate(told.events) if canary.takes(event.user_id)]
        there = sorted({*range(len(told.events))} - {*here})
        parts = [
            lane.events.submit(part_of(told, places))
            for lane, places in ((self.trial, here), (self.served, there))
            if places
        ]
        return together(await asyncio.gather(*parts))
