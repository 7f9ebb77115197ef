"""Looks at the guardrails of the experiments that run, and stops variants: one composer at a time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import LockError

from recsys.config.experiments import Experiment
from recsys.errors import Conflict, NotFound
from recsys.experiments.guardrails import MINUTES, unwell
from recsys.serving.experiment_runs import ExperimentRuns
from recsys.state import redis_keys
from recsys.state.vitals import Vitals
from recsys.telemetry import SILENT, Telemetry

GUARD_S = 10.0
"""Seconds between two looks at how fast and how whole answers are."""
_METRIC_S = 300.0
"""Seconds between two looks at what people make of the answers, at the least: those join the log."""
_SHARE = 0.01
"""Share of a core that joining may take: the longer it took, the longer the pause."""
_LOCK_S = 120.0

log = logging.getLogger(__name__)


class Guard:
    def __init__(
        self,
        redis: Redis,
        runs: ExperimentRuns,
        vitals: Vitals,
        telemetry: Telemetry = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._runs = runs
        self._vitals = vitals
        self._telemetry = telemetry
        self._clock = clock
        self._joined_at: dict[str, float] = {}
        """Experiment -> when its metric may be looked at again."""

    async def step(self) -> None:
        """Raises RedisError, OSError and what a report raises; the next step tries again."""
        running = self._runs.running()
        self._telemetry.set("recsys_experiments_running", len(running))
        if not running:  # nearly always
            return
        lock = self._redis.lock(redis_keys.GUARDING, timeout=_LOCK_S, blocking=False)
        if not await lock.acquire():
            return
        try:
            await self._runs.note()
            for name, (_, experiment) in running.items():
                for variant, reason in (await self._reasons(name, experiment)).items():
                    await self._stop(name, variant, reason)
        finally:
            with contextlib.suppress(LockError):
                await lock.release()

    async def _reasons(self, name: str, experiment: Experiment) -> dict[str, str]:
        """Variant -> why it must stop."""
        tried = [variant for variant in experiment.running if variant != experiment.control]
        if experiment.kind == "interleaving" or not tried:
            return {}
        control = await self._vitals.read(f"{name}/{experiment.control}", MINUTES)
        reasons = {}
        for variant in tried:
            pulse = await self._vitals.read(f"{name}/{variant}", MINUTES)
            if (reason := unwell(experiment.guardrails, pulse, control)) is not None:
                reasons[variant] = reason
        if experiment.guardrails.worse and self._clock() >= self._joined_at.get(name, 0.0):
            began = self._clock()
            reasons |= await self._runs.disliked(name)
            took_s = self._clock() - began
            self._joined_at[name] = self._clock() + max(_METRIC_S, took_s / _SHARE)
        return {variant: reason for variant, reason in reasons.items() if variant in tried}

    async def _stop(self, name: str, variant: str, reason: str) -> None:
        with contextlib.suppress(NotFound, Conflict):  # somebody stopped it at the same moment
            await self._runs.stop_variant(name, variant, reason)
            self._telemetry.add("recsys_stopped_variants_total", reason=reason.partition(":")[0])
            log.warning("variant %s of experiment %s was stopped: %s", variant, name, reason)
