"""The parts of a composer that one set of settings makes. Others make all of them anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.datatypes import Interaction
from recsys.model.taste import Taste
from recsys.ranking.scenarios import compiled
from recsys.ranking.variants import with_variants
from recsys.serving.chosen_answers import ChosenAnswers
from recsys.serving.encoder_calls import Encode, QueryTexts
from recsys.serving.event_writes import EventWriter, Recorded
from recsys.serving.explaining import Explainer
from recsys.serving.item_calls import ItemCalls
from recsys.serving.lanes import Lane, Lanes
from recsys.serving.measures import Pulse, Recording
from recsys.serving.paging import Pager
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import ProfileLoader
from recsys.serving.profile_rebuilding import Rebuilder
from recsys.serving.profile_warming import Active
from recsys.serving.replies import Answering
from recsys.serving.request_facts import RequestFacts
from recsys.serving.rotation import Rotation
from recsys.serving.segments import SegmentPopularity
from recsys.serving.slate_writer import SlateWriter
from recsys.serving.trials import Trial, trials
from recsys.serving.user_records import UserRecords
from recsys.serving.version_follower import VersionFollower
from recsys.state.shown_items import ShownItems
from recsys.state.user_attributes import UserAttributes
from recsys.state.users import UserStore
from recsys.state.vitals import Vitals
from recsys.telemetry import Telemetry
from recsys.transport.coalescing import Flight
from recsys.transport.shard_clients import Shards


@dataclass(frozen=True, slots=True)
class Lasting:
    """What a composer has under all settings."""

    platform: Platform
    redis: Redis
    shards: Shards
    encode: Encode
    follower: VersionFollower
    telemetry: Telemetry
    answers: SlateWriter
    vitals: Vitals
    pulse: Pulse
    pager: Pager
    record: Callable[[Sequence[Interaction]], Awaitable[Recorded]]
    """How a merged user gets the other's events."""
    active: Active = field(default_factory=Active)
    answering: Answering = field(default_factory=Answering)
    explaining: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One answer is explained at a time."""


class Arrangement:
    """`before`: the one whose place it takes, of which work goes on."""

    def __init__(self, settings: Serving, lasting: Lasting, before: Arrangement | None) -> None:
        self._settings = settings
        self._lasting = lasting
        redis, shards, telemetry, answers = lasting.redis, lasting.shards, lasting.telemetry, lasting.answers
        self.items = ItemCalls(redis, shards, lasting.encode, lasting.follower, settings)
        self.users = UserStore(
            redis,
            ttl_s=settings.profile_ttl_s,
            history=settings.history,
            user_ttl_s=settings.user_ttl_s,
            settings=Taste(settings.event_types, settings.taste_half_life).fingerprint,
            trend_half_life_s=settings.trend_half_life_s,
            log=answers.log,
            segments=settings.segments,
        )
        self.profiles = ProfileLoader(self.users, shards, settings, telemetry, lasting.active)
        busy = [] if before is None else [rebuilder for rebuilder in before.rebuilders if rebuilder.busy]
        self.rebuilders: Sequence[Rebuilder] = [*busy, self.profiles.rebuilder]
        served = with_variants(settings)
        self.trials: Mapping[str, Trial] = trials(served, lasting.vitals)
        rotates = any(scenario.rotation for scenario in served.scenarios.values())
        self.rotation = Rotation(ShownItems(redis), served.scenarios) if rotates else None
        self._about = UserAttributes(redis, settings.user_ttl_s)
        by_segment = settings.segments.attribute is not None
        known = None if before is None else before.segments
        self.segments: SegmentPopularity | None = None
        if by_segment:
            self.segments = SegmentPopularity(redis, settings.segments, known)
        recommender = self.recommender(served, self.rotation)
        events = EventWriter(self.users, self.profiles, settings, answers)
        self.user_records = UserRecords(self.users, self._about, events, lasting.record)
        self.explainer = Explainer(recommender, shards, self.profiles.taste, self.user_records.history)
        recording = Recording(telemetry)
        self.lanes = Lanes(
            lasting.follower, lambda serve: Lane(serve, recommender, events, recording, settings, self._landed)
        )
        self.texts = QueryTexts(lasting.encode, settings, lambda flight: self._landed("texts", flight))
        self.chosen = ChosenAnswers(self.lanes, self.trials, self.texts, settings.budget_s)

    def recommender(self, settings: Serving, rotation: Rotation | None = None) -> Recommender:
        """What answers under these settings, with what is known of users under those of the arrangement."""
        own = compiled(settings, self._lasting.platform)
        about = self._about if self._lasting.platform.user_attributes else None
        facts = RequestFacts(own, rotation, about, self.segments)
        return Recommender(self._lasting.shards, self.profiles, settings, facts=facts)

    def beat(self) -> None:
        """Publish what waits, what was given up, and what was refused for want of room; once a second."""
        telemetry, served, trial, texts = self._lasting.telemetry, self.lanes.served, self.lanes.trial, self.texts.queue
        telemetry.set("recsys_queue_requests", len(served.slates), queue="recommend")
        telemetry.set("recsys_queue_requests", len(served.events), queue="events")
        telemetry.set("recsys_queue_requests", len(texts), queue="texts")
        refused = 0
        for queue in (served.slates, trial.slates, texts):
            refused += queue.given_up["late"]
            for reason, requests in queue.given_up.items():
                telemetry.add("recsys_given_up_total", requests, reason=reason)
            queue.given_up.clear()
        bounds = (served.slates, served.events, trial.slates, trial.events, texts, self.items.reads, self.items.deletes)
        for bound in bounds:
            refused += bound.refused
            bound.refused = 0
        telemetry.add("recsys_refused_total", refused, code="overloaded")

    def _landed(self, queue: str, flight: Flight) -> None:
        self._lasting.pulse.landed(queue, flight, self._settings.max_batch, works=False)
