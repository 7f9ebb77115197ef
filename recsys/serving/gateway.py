"""Everything that the HTTP API can ask for, with requests that arrive together travelling together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import structs
from redis.asyncio import Redis

from recsys.answers import Slate
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.datatypes import Interaction, Item, Keys, RecQuery
from recsys.errors import Outdated, RecsysError
from recsys.model.taste import Taste
from recsys.outcomes.log_files import LogFiles
from recsys.ranking.scenarios import compiled
from recsys.ranking.variants import with_variants
from recsys.serving.chosen_answers import ChosenAnswers
from recsys.serving.encoder_calls import Encode, QueryTexts
from recsys.serving.event_writes import EventWriter, Recorded, Told
from recsys.serving.experiment_runs import ExperimentRuns
from recsys.serving.explaining import Explainer
from recsys.serving.item_calls import ItemCalls
from recsys.serving.lanes import Lane, Lanes
from recsys.serving.left_out import WhyNot
from recsys.serving.live_scenarios import LiveScenarios
from recsys.serving.load import LoadMeter
from recsys.serving.measures import Pulse, Recording
from recsys.serving.outcome_reports import OutcomeReports
from recsys.serving.paging import Pager
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import ProfileLoader
from recsys.serving.profile_rebuilding import Rebuilder
from recsys.serving.profile_warming import Active
from recsys.serving.replies import Answering, Logged
from recsys.serving.request_facts import RequestFacts
from recsys.serving.rotation import Rotation
from recsys.serving.segments import SegmentPopularity
from recsys.serving.settings_follower import refusals
from recsys.serving.slate_writer import SlateWriter
from recsys.serving.timeline import Timeline
from recsys.serving.trials import Trial, trials
from recsys.serving.user_records import UserRecords
from recsys.serving.version_follower import VersionFollower
from recsys.state.job_runs import last_runs
from recsys.state.shown_items import ShownItems
from recsys.state.user_attributes import UserAttributes
from recsys.state.users import UserStore
from recsys.state.vitals import Vitals, version_label
from recsys.telemetry import SILENT, Telemetry
from recsys.transport.coalescing import Caller, Flight, Reply
from recsys.transport.shard_clients import ShardClient, Shards


class Gateway:
    def __init__(
        self,
        platform: Platform,
        client: Callable[[int], ShardClient],
        encode: Encode,
        redis: Redis,
        follower: VersionFollower,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """`client` returns that of a shard by its number."""
        self.platform = platform
        self._telemetry = telemetry
        self.meter = LoadMeter(lambda: max(self.slates.oldest_s, self._events.oldest_s))
        self._pulse = Pulse(self.meter, telemetry)
        self._recording = Recording(telemetry)
        self.follower = follower
        self._redis = redis
        self._shards = Shards(client, follower.router)
        self._encode = encode
        self._active = Active()
        self.answers = SlateWriter(redis, telemetry)
        self.log_files = LogFiles.of(platform)
        self.reports = OutcomeReports(self.log_files)
        self.timeline = Timeline(redis)
        self._explaining = asyncio.Lock()
        self._answering = Answering()
        self.vitals = Vitals(redis)
        self._pager = Pager(redis, self._present, self._seen, lambda: self.follower.serve)
        self._rebuilders: list[Rebuilder] = []
        self.segments: SegmentPopularity | None = None
        self.scenarios = LiveScenarios(redis, platform, self._apply)
        self.configure(Serving())
        self.experiments = ExperimentRuns(redis, self.scenarios, self.log_files, lambda: self.settings)

    def configure(self, settings: Serving) -> None:
        """Take over settings for the batches to come; requests under way end under the ones they began with. What edits
        say of scenarios goes on top.
        """
        self.scenarios.configure(settings)

    def _apply(self, settings: Serving) -> None:
        self.settings = settings
        self.answers.configure(settings.slate_log)
        self.items = ItemCalls(self._redis, self._shards, self._encode, self.follower, settings)
        self.users = UserStore(
            self._redis,
            ttl_s=settings.profile_ttl_s,
            history=settings.history,
            user_ttl_s=settings.user_ttl_s,
            settings=Taste(settings.event_types, settings.taste_half_life).fingerprint,
            trend_half_life_s=settings.trend_half_life_s,
            log=self.answers.log,
            segments=settings.segments,
        )
        profiles = self._profiles = ProfileLoader(self.users, self._shards, settings, self._telemetry, self._active)
        self.follower.before_switch = profiles.warm
        self._rebuilders = [*(r for r in self._rebuilders if r.busy), profiles.rebuilder]
        served = with_variants(settings)
        self._trials: Mapping[str, Trial] = trials(served, self.vitals)
        rotates = any(scenario.rotation for scenario in served.scenarios.values())
        self.rotation = Rotation(ShownItems(self._redis), served.scenarios) if rotates else None
        self._about = UserAttributes(self._redis, settings.user_ttl_s)
        by_segment = settings.segments.attribute is not None
        self.segments = SegmentPopularity(self._redis, settings.segments, self.segments) if by_segment else None
        recommender = self._recommender(served, self.rotation)
        events = EventWriter(self.users, profiles, settings, self.answers)
        self.user_records = UserRecords(self.users, self._about, events, self.record)
        self._explainer = Explainer(recommender, self._shards, profiles.taste, self.user_records.history)
        self.lanes = Lanes(
            self.follower,
            lambda serve: Lane(serve, recommender, events, self._recording, settings, self._landed),
        )
        self.slates, self._events = self.lanes.served.slates, self.lanes.served.events
        self._texts = QueryTexts(self._encode, settings, lambda flight: self._landed("texts", flight))
        self.chosen = ChosenAnswers(self.lanes, self._trials, self._texts, settings.budget_s)

    def _recommender(self, settings: Serving, rotation: Rotation | None = None) -> Recommender:
        own = compiled(settings, self.platform)
        about = self._about if self.platform.user_attributes else None
        facts = RequestFacts(own, rotation, about, self.segments)
        return Recommender(self._shards, self._profiles, settings, facts=facts)

    async def look_at_segments(self) -> None:
        """Take over what is liked by segment. Raises RedisError and OSError."""
        if self.segments is not None:
            await self.segments.look()

    async def forget_gone(self) -> None:
        """Drop from memory what is known of users who were erased. Raises RedisError and OSError."""
        await self._profiles.forget_gone()

    async def stop(self) -> None:
        """End the work behind the requests."""
        for rebuilder in self._rebuilders:
            await rebuilder.stop()
        await self.answers.stop()

    async def warm_up(self) -> None:
        """Answer a first request for nobody. It opens connections and fills caches that the next one needs."""
        try:
            await self.recommend(RecQuery(scenario="home", k=1))
        except RecsysError:
            return  # a part is away: that is for the requests to say
        await self._pager.ready()

    def beat(self) -> None:
        """Publish the composer's measurements; once a second."""
        self._pulse.beat([self.follower.serve.version])
        self.follower.beat()
        self.answers.beat()
        self._telemetry.set("recsys_queue_requests", len(self.slates), queue="recommend")
        self._telemetry.set("recsys_queue_requests", len(self._events), queue="events")
        self._telemetry.set("recsys_queue_requests", len(self._texts.queue), queue="texts")
        for queue in (self.slates, self._texts.queue):
            for reason, requests in queue.given_up.items():
                self._telemetry.add("recsys_given_up_total", requests, reason=reason)
            queue.given_up.clear()
        if (manifest := self.follower.manifest) is not None and manifest.recall_at_10 is not None:
            self._telemetry.set("recsys_published_recall_ratio", manifest.recall_at_10)

    def _landed(self, queue: str, flight: Flight) -> None:
        self._pulse.landed(queue, flight, self.settings.max_batch, works=False)

    async def recommend(self, query: RecQuery, caller: Caller | None = None) -> Slate:
        """A slate, which is logged where the query has a `request_id`.

        `caller`: who waits, and since when, from which the budget counts; None: one who came at this moment.
        """
        trial = self._trials.get(query.scenario)
        if trial is None and self.follower.canary is None:  # nearly always
            slate = await self.slates.submit(query, caller)
        else:
            slate = await self._tried(query, trial, caller or Caller())
        if query.request_id is not None:
            self.answers.add(query, slate)
        return slate

    def answer(self, query: RecQuery, caller: Caller, reply: Reply[Slate]) -> None:
        """Give to `reply` what `recommend` returns or raises. Nearly always no task is needed for that.

        Raises Overloaded where the request has no place.
        """
        if self._trials.get(query.scenario) is None and self.follower.canary is None:
            logged = reply if query.request_id is None else Logged(reply, query, self.answers)
            self.slates.enqueue(query, logged, caller)
        else:
            self._answering.begin(self.recommend(query, caller), reply)

    async def _tried(self, query: RecQuery, trial: Trial | None, caller: Caller) -> Slate:
        """The answer where there is an experiment, or another version for a part of the users."""
        canary = self.follower.canary
        queue = self.lanes.of(query.user_id).slates
        if trial is None:
            slate = await queue.submit(query, caller)
        else:
            slate = await trial.slate(query, lambda one: queue.submit(one, caller), caller)
        if canary is not None and query.request_id is not None and query.user_id is not None:
            took_s = time.monotonic() - caller.since
            self.vitals.note(version_label(slate.index_version), took_s, degraded=bool(slate.degraded))
        return slate

    async def search(self, text: str, query: RecQuery, caller: Caller | None = None) -> Slate:
        """A slate for a text: `query` with the text's vector. Raises Unavailable when no encoder answers."""
        caller = caller or Caller()
        query = structs.replace(query, since=caller.since)
        while True:
            serve = self.lanes.serve_of(query.user_id)
            left_s = self.settings.budget_s - (time.monotonic() - caller.since)
            vector = await self._texts.vector(serve.version, text, caller, left_s)
            try:
                return await self.recommend(structs.replace(query, vector=vector, encoder=serve.fingerprint), caller)
            except Outdated:
                continue  # a version of another encoder took over: its vector space is the one to search

    async def explained(
        self, query: RecQuery, why_not: Sequence[str] = (), text: str | None = None, caller: Caller | None = None
    ) -> tuple[Slate, list[WhyNot]]:
        """A slate with evidence for each item where the query asks for everything, and why other items are not in it.

        The answer is made again many times, one explanation after another, so that other requests get their turn.
        """
        slate = await (self.recommend(query, caller) if text is None else self.search(text, query, caller))
        async with self._explaining:
            serve = self.lanes.serve_of(query.user_id)
            if (trial := self._trials.get(query.scenario)) is not None:
                query = trial.as_ranked(query)
            if text is not None:
                vector = await self._texts.vector(serve.version, text, Caller(), self.settings.budget_s)
                query = structs.replace(query, vector=vector, encoder=serve.fingerprint)
            return await self._explainer.explain(query, slate, why_not, serve)

    async def page(self, query: RecQuery, page: str, text: str | None = None, caller: Caller | None = None) -> Slate:
        """A page of a list, see `paging.py`; logged as any other answer. `text`: what is searched for."""

        async def rank(deeper: RecQuery) -> Slate:
            return await (self.recommend(deeper, caller) if text is None else self.search(text, deeper, caller))

        slate = await self._pager.page(query, text, page, rank)
        if (trial := self._trials.get(query.scenario)) is not None:
            slate = structs.replace(slate, variant=trial.label(query))
        if query.request_id is not None:
            self.answers.add(query, slate)
        return slate

    def given(self, query: RecQuery, slate: Slate) -> None:
        """Log a slate that was put together of what was ranked, and note what it shows."""
        if (trial := self._trials.get(query.scenario)) is not None:
            slate = structs.replace(slate, variant=trial.label(query))
        self.answers.add(query, slate)
        if self.rotation is not None and (scenario := self.settings.scenarios.get(query.scenario)) is not None:
            self.rotation.shown(query, scenario, slate, time.time())

    async def _present(self, item_ids: Sequence[str]) -> tuple[Mapping[str, Item], Sequence[str]]:
        return await self._shards.items(self.follower.serve.version, item_ids, self.settings.budget_s)

    async def _seen(self, user_id: str) -> tuple[Keys, Sequence[str]]:
        """Keys of what the user has seen, and the parts that did not answer."""
        return await self._profiles.seen(user_id, self.lanes.serve_of(user_id), self.settings.budget_s)

    async def preview(
        self, settings: Serving, queries: Sequence[RecQuery], text: str | None = None
    ) -> list[Slate | Exception]:
        """What the queries would be answered under other settings; nothing is noted. `text`: what all search for."""
        serve, caller = self.follower.serve, Caller()
        settings = with_variants(settings)
        if text is not None:
            vector = await self._texts.vector(serve.version, text, caller, self.settings.budget_s)
            queries = [structs.replace(q, vector=vector, encoder=serve.fingerprint) for q in queries]
        return await self._recommender(settings).recommend_many(queries, serve)

    def lately(self, count: int) -> list[str]:
        """Users who came last to this composer."""
        return self._active.newest()[:count]

    async def record(
        self, events: Sequence[Interaction], untimed: frozenset[int] = frozenset(), *, fold: bool = True
    ) -> Recorded:
        """Record events. `untimed`: places of the events that came without a time; they have the platform's. `fold`
        False: the users' profiles are made when they come next.
        """
        if not events:
            return Recorded(0, 0, 0, ())
        told = Told(events, untimed, fold)
        if (canary := self.follower.canary) is None:  # nearly always
            return await self._events.submit(told)
        return await self.lanes.record(told, canary)

    async def unattended(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The last rebuild and the last retraining, see `schedule.last_run`; the latter's comparison parsed."""
        return await last_runs(self._redis)

    async def refused_settings(self) -> dict[str, str]:
        """Deployment -> why the settings that it was handed last are not in force."""
        return await refusals(self._redis)
