"""An index shard: one deployment a shard, every replica the same items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.interpreter import settle
from deployments.logs import log_with_serve
from deployments.metrics import RayTelemetry
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Filter, Floats, Item
from recsys.serving.background import Background
from recsys.serving.settings_follower import HeldSettings
from recsys.serving.shard_replica import ShardReplica
from recsys.serving.window_meter import WINDOW_S, WindowMeter, WindowWriter
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.state.connection import connect
from recsys.versions.store import VersionStore


@serve.deployment
class ShardDeployment:
    async def __init__(self, number: int, platform: Platform, encoder: DeploymentHandle[Any]) -> None:  # type: ignore[misc] # Serve awaits it
        log_with_serve()
        encode = encoder.options(method_name="encode")

        async def vectors(version: str, texts: Sequence[str]) -> Floats:
            encoded: Floats = await encode.remote(version, texts)
            return encoded

        self._redis = connect(platform.redis(), prefix=platform.redis_prefix)
        store = VersionStore.of(platform)
        replica_id = serve.get_replica_context().replica_id.unique_id
        telemetry = WindowMeter(RayTelemetry("shard"))
        self._replica = ShardReplica(number, replica_id, store, self._redis, vectors, telemetry)
        self._settings = HeldSettings(ShardTuning, f"shard-{number}", self._redis, self._tune, telemetry)
        await self._replica.start(str(ray.util.get_node_ip_address()))  # type: ignore[no-untyped-call]
        self._windows = WindowWriter(self._redis, f"shard-{number}", replica_id, telemetry)
        self._background = Background(telemetry)
        self._background.start("windows", self._windows.step, WINDOW_S)
        settle()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self._settings.take(user_config)

    async def _tune(self, tuning: ShardTuning) -> None:
        await asyncio.to_thread(self._replica.tune, tuning)

    async def search(self, query: ShardQuery) -> CandidateSet:
        return await self._replica.search(query)

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        return await self._replica.vectors(version, item_ids)

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        return await self._replica.items(version, item_ids)

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:
        return await self._replica.page(version, after, limit, given)

    async def tuning(self) -> ShardTuning:
        return self._replica.tuning

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return self._replica.watch.meter.load.as_stats()

    async def check_health(self) -> None:
        if not self._replica.healthy():
            raise RuntimeError("a background task of the shard has ended; see the log")

    async def __del__(self) -> None:
        await self._background.stop()
        await self._windows.leave()
        await self._settings.stop()
        await self._replica.stop()
        await self._redis.aclose()
