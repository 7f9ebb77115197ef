"""Answers to many users beside the composers: the same shards, profiles, scenarios and rules, without their queues.

It belongs to a batch job. It announces nothing, takes no requests, and serves the version that the composers serve.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Self

from redis.asyncio import Redis

from recsys.answers import Slate
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.datatypes import Filter, Floats, Item, RecQuery
from recsys.errors import BadInput, Unavailable
from recsys.model.taste import Taste
from recsys.ranking.scenarios import compiled
from recsys.ranking.served_version import Serve
from recsys.routing import Router
from recsys.serving.live_scenarios import LiveScenarios
from recsys.serving.members_view import MembersView
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import ProfileLoader
from recsys.serving.request_facts import RequestFacts
from recsys.serving.rotation import Rotation
from recsys.serving.segments import SegmentPopularity
from recsys.serving.slate_writer import SlateWriter
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.state.presence import secret
from recsys.state.shown_items import ShownItems
from recsys.state.user_attributes import UserAttributes
from recsys.state.users import UserStore
from recsys.transport.direct_shard import DirectShard
from recsys.transport.shard_clients import ShardClient, Shards
from recsys.versions.opening import open_serve
from recsys.versions.store import VersionStore

_BUDGET_S = 30.0
"""Seconds for a batch: nobody waits for it."""
_CACHED_S = 600
"""Seconds that a profile made here stays cached: all users' profiles would fill Redis for a week otherwise."""
_TRIES = 4
"""Times that a query is answered before an answer without some part is taken, and an error is raised."""
PAUSE_S = 1.0
"""Seconds before the second try; each further pause is twice as long."""


class BulkAnswers:
    """`client` returns that of a shard by its number; `members`: who is there."""

    def __init__(
        self,
        platform: Platform,
        settings: Serving,
        redis: Redis,
        client: Callable[[int], ShardClient],
        members: MembersView,
    ) -> None:
        self._platform = platform
        self._redis = redis
        self._members = members
        self._store = VersionStore.of(platform)
        self._serve: Serve | None = None
        self._routers: dict[str, Router] = {}
        """By version, of those that were answered by."""
        self._shards = Shards(client, self._routers.__getitem__)
        self._profiles: list[ProfileLoader] = []
        self.log = SlateWriter(redis)
        self._scenarios = LiveScenarios(redis, platform, self._apply)
        self._scenarios.configure(settings)

    @classmethod
    async def opened(cls, platform: Platform, settings: Serving, redis: Redis) -> Self:
        """On the channels of the shards' replicas. Raises RedisError and OSError."""
        members, proof = MembersView(redis, "batch"), await secret(redis)

        @cache
        def client(shard: int) -> DirectShard:
            return DirectShard(shard, partial(members.replicas, shard), proof, _Away(shard))

        return cls(platform, settings, redis, client, members)

    def _apply(self, settings: Serving) -> None:
        self.settings = patient = settings.model_copy(update={"budget_s": _BUDGET_S})
        taste = Taste(settings.event_types, settings.taste_half_life)
        ttl_s = min(settings.profile_ttl_s, _CACHED_S)
        users = UserStore(self._redis, ttl_s=ttl_s, history=settings.history, settings=taste.fingerprint)
        self._profiles.append(ProfileLoader(users, self._shards, patient))
        rotates = any(scenario.rotation for scenario in settings.scenarios.values())
        self._rotation = Rotation(ShownItems(self._redis), settings.scenarios) if rotates else None
        about = UserAttributes(self._redis, settings.user_ttl_s) if self._platform.user_attributes else None
        by_segment = settings.segments.attribute is not None
        self._segments = SegmentPopularity(self._redis, settings.segments) if by_segment else None
        facts = RequestFacts(compiled(settings, self._platform), self._rotation, about, self._segments)
        self._recommender = Recommender(self._shards, self._profiles[-1], patient, facts=facts)
        self.log.configure(settings.slate_log)

    async def slates(self, queries: Sequence[RecQuery]) -> list[Slate]:
        """Answer all queries, and log the answers of those that have a `request_id`.

        A query whose answer lacks a part is answered again, up to four times in all; the last answer counts. Raises
        BadInput, and Unavailable where there was no answer.
        """
        answers: dict[int, Slate | Exception] = {}
        left = list(range(len(queries)))
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_S * 2 ** (attempt - 1))
            answers |= zip(left, await self._answers([queries[n] for n in left]), strict=True)
            left = [n for n in left if not isinstance(one := answers[n], Slate) or one.degraded]
            if not left:
                break
        slates = []
        for n, query in enumerate(queries):
            if not isinstance(answer := answers[n], Slate):
                raise answer
            slates.append(answer)
            if query.request_id is not None:
                self.log.add(query, answer)
        await self.log.step()
        if self._rotation is not None:
            await self._rotation.noted()
        return slates

    async def _answers(self, queries: Sequence[RecQuery]) -> list[Slate | Exception]:
        """One try of all. Raises BadInput, which no other try would mend."""
        serve, size = await self._version(), self.settings.max_batch
        answers: list[Slate | Exception] = []
        for start in range(0, len(queries), size):
            answers += await self._recommender.recommend_many(queries[start : start + size], serve)
        if wrong := next((answer for answer in answers if isinstance(answer, BadInput)), None):
            raise wrong
        return answers

    async def close(self) -> None:
        for profiles in self._profiles:
            await profiles.rebuilder.stop()
        await self.log.stop()

    async def _version(self) -> Serve:
        """What the composers serve now, under the scenarios in force. Raises Unavailable when none serves anything."""
        await self._members.refresh()
        await self._scenarios.look()
        if self._segments is not None:
            await self._segments.look()
        serving = Counter(member.serving for member in self._members.composers if member.serving)
        if not serving:
            raise Unavailable("no composer serves a version; is the platform up?")
        [(version, _)] = serving.most_common(1)
        if self._serve is None or self._serve.version != version:
            self._serve = await asyncio.to_thread(open_serve, self._store, version)
            self._routers[version] = self._serve.layout.router
        return self._serve


class _Away:
    """A shard of which no replica can be reached: a batch job has no other way to it."""

    def __init__(self, shard: int) -> None:
        self._error = Unavailable(f"no replica of shard-{shard} can be reached")

    async def search(self, query: ShardQuery) -> CandidateSet:  # noqa: ARG002
        raise self._error

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:  # noqa: ARG002
        raise self._error

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:  # noqa: ARG002
        raise self._error

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:  # noqa: ARG002
        raise self._error
