"""The composer: the ingress that turns requests into batches, and batches into slates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.api.app import make_api
from deployments.api.front import Front
from deployments.api.traces import Traces
from deployments.interpreter import settle
from deployments.logs import log_with_serve
from deployments.machine.redis_check import log_check
from deployments.metrics import RayTelemetry
from deployments.unattended import jobs, switching
from recsys.access.gate import Gate
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Filter, Floats, Item
from recsys.jobs.schedule import Schedule
from recsys.ranking.scenarios import check
from recsys.serving import segments
from recsys.serving.background import Background
from recsys.serving.canary_guard import LEAD_S, CanaryGuard
from recsys.serving.gateway import Gateway
from recsys.serving.live_scenarios import LOOK_S
from recsys.serving.measures import BEAT_S
from recsys.serving.profile_loading import FORGET_S
from recsys.serving.settings_follower import HeldSettings
from recsys.serving.slate_loops import keep_log
from recsys.serving.version_follower import VersionFollower
from recsys.serving.window_meter import WINDOW_S, WindowMeter, WindowWriter
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.state.connection import connect
from recsys.state.presence import secret
from recsys.transport.direct_shard import DirectShard
from recsys.transport.hedging import Hedging
from recsys.versions.store import VersionStore

_PATIENCE_S = 30.0
"""Seconds that a new composer waits for all shards before it serves with those that are there."""


class RemoteShard:
    """A shard's replicas behind their handle, which is made when it is needed. The bound methods are kept: making them
    anew costs at every call.
    """

    def __init__(self, handle: Callable[[], DeploymentHandle[Any]]) -> None:
        self._handle = handle
        self._methods: dict[str, DeploymentHandle[Any]] = {}

    def _method(self, name: str) -> DeploymentHandle[Any]:
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._handle().options(method_name=name)
        return method

    async def search(self, query: ShardQuery) -> CandidateSet:
        answer: CandidateSet = await self._method("search").remote(query)
        return answer

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        answer: tuple[tuple[str, ...], Floats] = await self._method("vectors").remote(version, item_ids)
        return answer

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        answer: list[Item] = await self._method("items").remote(version, item_ids)
        return answer

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:
        items: list[Item] = await self._method("page").remote(version, after, limit, given)
        return items


def _handle(shards: Sequence[DeploymentHandle[Any]], number: int) -> DeploymentHandle[Any]:
    """`shards`: those that the application had when this composer was made. Others came since."""
    return shards[number] if number < len(shards) else serve.get_deployment_handle(f"shard-{number}")


@serve.deployment(name="Composer")
@serve.ingress()
class Composer:
    async def __init__(  # type: ignore[misc] # Serve awaits it
        self, platform: Platform, encoder: DeploymentHandle[Any], shards: list[DeploymentHandle[Any]]
    ) -> None:
        log_with_serve()
        encode = encoder.options(method_name="encode")

        async def vectors(version: str, texts: Sequence[str]) -> Floats:
            call = encode.remote(version, texts)
            try:
                encoded: Floats = await self._traces.call("encode", call)
            except asyncio.CancelledError:
                call.cancel()  # type: ignore[no-untyped-call] # Serve does not, and the encoder would go on for nobody
                raise
            return encoded

        self._redis = connect(platform.redis(), prefix=platform.redis_prefix)
        self._looking = asyncio.create_task(asyncio.to_thread(log_check, platform.redis(), platform.redis_prefix))
        replica_id = serve.get_replica_context().replica_id.unique_id
        self._traces = Traces(replica_id)
        store = VersionStore.of(platform)
        telemetry = WindowMeter(RayTelemetry("composer"))
        self._follower = VersionFollower(replica_id, store, self._redis, telemetry)
        await self._follower.start(_PATIENCE_S)
        proof = await secret(self._redis)
        self._hedgings: dict[int, Hedging] = {}
        followed = self._follower.members.replicas

        @cache
        def client(number: int) -> DirectShard:
            hedging = self._hedgings[number] = Hedging()
            remote = RemoteShard(partial(_handle, shards, number))
            return DirectShard(number, partial(followed, number), proof, remote, telemetry, hedging)

        self._gateway = Gateway(platform, client, vectors, self._redis, self._follower, telemetry)
        self._settings = HeldSettings(Serving, "Composer", self._redis, self._configure, telemetry)
        shard = shards[0].options(method_name="tuning")

        async def tuning() -> ShardTuning:
            current: ShardTuning = await shard.remote()
            return current

        follower = self._follower
        work = jobs(platform, lambda: self._gateway.settings, follower.drift, follower.rebuilds_asked_for, tuning)
        self._schedule = Schedule(self._redis, work, telemetry)
        self._schedule.start()
        self._gate = Gate(lambda: self._follower.members.composer_count, telemetry)
        await self._gate.configure(self._gateway.settings.security)
        self._gate.start()
        await self._gateway.warm_up()
        self._gateway.meter.begin()
        self._background = Background(telemetry)
        self._background.start("beat", self._beat, BEAT_S)
        self._background.start("scenarios", self._gateway.scenarios.look, LOOK_S)
        self._windows = WindowWriter(self._redis, "Composer", replica_id, telemetry)
        self._background.start("windows", self._windows.step, WINDOW_S)
        timeline = self._gateway.timeline
        self._background.start("timeline", timeline.step, timeline.pause_s)
        self._background.start("segments", self._gateway.look_at_segments, segments.LOOK_S)
        self._background.start("forget", self._gateway.forget_gone, FORGET_S)
        keep_log(self._background, self._gateway, self._redis, telemetry)
        lead = CanaryGuard(self._redis, store, platform, self._follower, self._gateway, telemetry)
        self._background.start("canary", lead.step, LEAD_S)
        settle()

    def __serve_build_asgi_app__(self) -> Front:
        return make_api(self._gateway, self._gate, self._traces, switching(self._gateway.platform))

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self._settings.take(user_config)

    async def _configure(self, settings: Serving) -> None:
        check(settings, self._gateway.platform)
        await self._gate.configure(settings.security)  # it raises before anything is taken over
        self._gateway.configure(settings)
        self._share_out()
        await self._traces.configure(settings.tracing)

    def _beat(self) -> None:
        self._share_out()
        self._gateway.beat()

    def _share_out(self) -> None:
        """With one shard no answer waits for the slowest of many."""
        several = self._follower.serve.layout.router.shards > 1
        for hedging in self._hedgings.values():
            hedging.share = self._gateway.settings.hedge_share if several else 0.0

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return self._gateway.meter.load.as_stats()

    async def check_health(self) -> None:
        """Fails where a new composer could do better. Without any shard none could: that is for /readyz to say."""
        if not all(part.healthy() for part in (self._background, self._gate, self._schedule)):
            raise RuntimeError("a background task of the composer has ended; see the log")
        if not self._follower.healthy():
            raise RuntimeError("the composer cannot serve a version that the shards hold; see the log")

    async def __del__(self) -> None:
        await self._background.stop()
        await self._windows.leave()
        await self._schedule.stop()
        await self._gateway.stop()
        await self._settings.stop()
        await self._gate.stop()
        await self._follower.stop()
        await self._redis.aclose()
        await self._traces.stop()
