"""Everything that the HTTP API can ask for, with requests that arrive together travelling together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.datatypes import Interaction, Item, Keys, RecQuery
from recsys.errors import RecsysError
from recsys.outcomes.log_files import LogFiles
from recsys.serving.arrangement import Arrangement, Lasting
from recsys.serving.encoder_calls import Encode
from recsys.serving.event_writes import Recorded, Told
from recsys.serving.experiment_runs import ExperimentRuns
from recsys.serving.live_scenarios import LiveScenarios
from recsys.serving.load import LoadMeter
from recsys.serving.measures import Pulse
from recsys.serving.outcome_reports import OutcomeReports
from recsys.serving.paging import Pager
from recsys.serving.settings_follower import refusals
from recsys.serving.slate_calls import SlateCalls
from recsys.serving.slate_writer import SlateWriter
from recsys.serving.timeline import Timeline
from recsys.serving.version_follower import VersionFollower
from recsys.state.job_runs import last_runs
from recsys.state.vitals import Vitals
from recsys.telemetry import SILENT, Telemetry
from recsys.transport.shard_clients import ShardClient, Shards


class Gateway:
    """What is asked for slates is an attribute for each method of `SlateCalls`, and what else there is under the
    settings in force one for each part of `Arrangement`. A change of settings puts others in their places.
    """

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
        self.follower = follower
        self._redis = redis
        self._shards = Shards(client, follower.router)
        self.answers = SlateWriter(redis, telemetry)
        self.log_files = LogFiles.of(platform)
        self.reports = OutcomeReports(self.log_files)
        self.timeline = Timeline(redis)
        self.vitals = Vitals(redis)
        self._pager = Pager(redis, self._present, self._seen, lambda: follower.serve)
        self._lasting = Lasting(
            platform, redis, self._shards, encode, follower, telemetry,
            self.answers, self.vitals, self._pulse, self._pager, self.record,
        )  # fmt: skip
        self._before: Arrangement | None = None
        """What the next settings take the place of; None: there were none yet."""
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
        parts = self._before = self._in_force = Arrangement(settings, self._lasting, self._before)
        self.follower.before_switch = parts.profiles.warm
        self.items, self.users, self.user_records = parts.items, parts.users, parts.user_records
        self.rotation, self.segments = parts.rotation, parts.segments
        self.lanes, self.chosen = parts.lanes, parts.chosen
        self.slates, self._events = parts.lanes.served.slates, parts.lanes.served.events
        calls = SlateCalls(settings, self._lasting, parts)
        self.recommend, self.answer, self.search, self.slate = calls.recommend, calls.answer, calls.search, calls.slate
        self.explained, self.page, self.given, self.preview = calls.explained, calls.page, calls.given, calls.preview

    async def look_at_segments(self) -> None:
        """Take over what is liked by segment. Raises RedisError and OSError."""
        if self.segments is not None:
            await self.segments.look()

    async def forget_gone(self) -> None:
        """Drop from memory what is known of users who were erased. Raises RedisError and OSError."""
        await self._in_force.profiles.forget_gone()

    async def stop(self) -> None:
        """End the work behind the requests."""
        for rebuilder in self._in_force.rebuilders:
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
        self._in_force.beat()
        if (manifest := self.follower.manifest) is not None and manifest.recall_at_10 is not None:
            self._telemetry.set("recsys_published_recall_ratio", manifest.recall_at_10)

    async def _present(self, item_ids: Sequence[str]) -> tuple[Mapping[str, Item], Sequence[str]]:
        return await self._shards.items(self.follower.serve.version, item_ids, self.settings.budget_s)

    async def _seen(self, user_id: str) -> tuple[Keys, Sequence[str]]:
        """Keys of what the user has seen, and the parts that did not answer."""
        return await self._in_force.profiles.seen(user_id, self.lanes.serve_of(user_id), self.settings.budget_s)

    def lately(self, count: int) -> list[str]:
        """Users who came last to this composer."""
        return self._lasting.active.newest()[:count]

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
