"""The encoder pool: replicas that turn texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import serve

from deployments.logs import log_with_serve
from deployments.metrics import RayTelemetry
from recsys.config.platform import Platform
from recsys.config.tuning import EncoderTuning
from recsys.datatypes import Floats
from recsys.serving.background import Background
from recsys.serving.encoder_replica import EncoderReplica
from recsys.serving.settings_follower import HeldSettings
from recsys.serving.window_meter import WINDOW_S, WindowMeter, WindowWriter
from recsys.state.connection import connect
from recsys.versions.store import VersionStore


@serve.deployment(name="Encoder")
class EncoderDeployment:
    async def __init__(self, platform: Platform) -> None:  # type: ignore[misc] # Serve awaits it
        log_with_serve()
        telemetry = WindowMeter(RayTelemetry("encoder"))
        self._replica = EncoderReplica(VersionStore.of(platform), platform.home() / "models", telemetry)
        self._redis = connect(platform.redis(), prefix=platform.redis_prefix)
        self._settings = HeldSettings(EncoderTuning, "Encoder", self._redis, self._tune, telemetry)
        await self._replica.start()
        replica_id = serve.get_replica_context().replica_id.unique_id
        self._windows = WindowWriter(self._redis, "Encoder", replica_id, telemetry)
        self._background = Background(telemetry)
        self._background.start("windows", self._windows.step, WINDOW_S)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self._settings.take(user_config)

    async def _tune(self, tuning: EncoderTuning) -> None:
        self._replica.tune(tuning)

    async def encode(self, version: str, texts: Sequence[str]) -> Floats:
        return await self._replica.encode(version, texts)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return self._replica.meter.load.as_stats()

    async def check_health(self) -> None:
        if not self._replica.healthy():
            raise RuntimeError("the encoder no longer measures itself; see the log")

    async def __del__(self) -> None:
        await self._background.stop()
        await self._windows.leave()
        await self._replica.stop()
        await self._settings.stop()
        await self._redis.aclose()
