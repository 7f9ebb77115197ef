"""Leads a version out to the users step by step, and takes it back when a guardrail says so: one composer at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import LockError

from recsys.config.canary import Canary
from recsys.config.platform import Platform
from recsys.errors import RecsysError, VersionError
from recsys.experiments.guardrails import MINUTES, unwell
from recsys.outcomes.joining import Question
from recsys.serving.gateway import Gateway
from recsys.serving.version_follower import VersionFollower
from recsys.state import redis_keys
from recsys.state.canary_record import CanaryRecord, CanaryRecords
from recsys.state.membership import asking_for_rebuilds
from recsys.state.vitals import version_label
from recsys.telemetry import SILENT, Telemetry
from recsys.versions import promotion
from recsys.versions.canary_verdict import CanaryVerdict
from recsys.versions.store import VersionStore

LEAD_S = 5.0
"""Seconds between two looks."""
_METRIC_S = 300.0
_SHARE = 0.01
"""See `guard.py`."""
_LOCK_S = 120.0
_READY_S = 900.0
"""Seconds within which every shard and composer must hold the version: loading millions of items takes minutes."""

log = logging.getLogger(__name__)


class CanaryGuard:
    """`now` gives Unix seconds."""

    def __init__(
        self,
        redis: Redis,
        store: VersionStore,
        platform: Platform,
        follower: VersionFollower,
        gateway: Gateway,
        telemetry: Telemetry = SILENT,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._records = CanaryRecords(redis)
        self._store = store
        self._platform = platform
        self._follower = follower
        self._gateway = gateway
        self._telemetry = telemetry
        self._now = now
        self._joined_at = 0.0
        """When the metric may be looked at again, by `now`."""

    async def step(self) -> None:
        """Raises RedisError, OSError and what a report raises; the next step tries again."""
        record = await self._records.read()
        self._telemetry.set("recsys_canary_ratio", 0.0 if record is None else record.share)
        if record is None:  # nearly always
            return
        lock = self._redis.lock(redis_keys.LEADING, timeout=_LOCK_S, blocking=False)
        if not await lock.acquire():
            return
        try:
            await self._lead(record)
        finally:
            with contextlib.suppress(LockError):
                await lock.release()

    async def _lead(self, record: CanaryRecord) -> None:
        now, settings = self._now(), self._gateway.settings.canary
        current = await asyncio.to_thread(self._store.current)
        if current != record.base:
            await self._back(record, f"replaced: {current} was promoted meanwhile", "replaced")
            return
        reason = self._unheld(record, now) if not record.began else await self._reason(record, settings)
        if reason is not None:
            await self._back(record, reason, reason.partition(":")[0])
        elif not record.began:
            if self._held_by_all(record):
                await self._records.replace(record, structs.replace(record, began=(now,)))
        elif now - record.began[-1] >= record.step_s and await self._told_enough(record, settings):
            await self._on(record, now)

    def _held_by_all(self, record: CanaryRecord) -> bool:
        composers = self._follower.members.composers
        return bool(composers) and all(member.trying == record.version for member in composers)

    def _unheld(self, record: CanaryRecord, now: float) -> str | None:
        """Why it cannot go out; None: it may yet."""
        for member in self._follower.members.all:
            if reason := member.rejected.get(record.version):
                return f"rejected: {member.id} cannot open it: {reason}"
        if now - record.asked_at > _READY_S:
            return f"late: not every shard and composer has it after {_READY_S:.0f} s"
        return None

    async def _reason(self, record: CanaryRecord, settings: Canary) -> str | None:
        """Why it must be taken back; None: it may stay."""
        new, base = [await self._gateway.vitals.read(version_label(v), MINUTES) for v in (record.version, record.base)]
        if (reason := unwell(settings.guardrails, new, base)) is not None:
            return reason
        if wishes := asking_for_rebuilds(self._follower.members.group, record.version):
            return f"recall: {wishes[0]}"
        if not settings.guardrails.worse or self._now() < self._joined_at:
            return None
        began = self._now()
        reason = await asyncio.to_thread(self._disliked, record, settings)
        self._joined_at = self._now() + max(min(_METRIC_S, record.step_s / 4), (self._now() - began) / _SHARE)
        return reason

    def _disliked(self, record: CanaryRecord, settings: Canary) -> str | None:
        from recsys.experiments.guardrails import Arms, disliked  # noqa: PLC0415 - DuckDB and scipy, needed seldom
        from recsys.experiments.metrics import users_of  # noqa: PLC0415
        from recsys.outcomes.by_user import by_user  # noqa: PLC0415

        steps = []
        window_s, roles = self._gateway.settings.slate_log.window_s, self._gateway.settings.outcome_roles()
        for start, end in zip(record.began, [*record.began[1:], self._now()], strict=True):
            question = Question(start, end, (), window_s, roles)
            rows = by_user(self._gateway.log_files, question, None, [record.version, record.base], by="version")
            steps.append(Arms(*(users_of(rows, settings.metric, place) for place in (0, 1))))
        return disliked(settings.effect, steps)

    async def _told_enough(self, record: CanaryRecord, settings: Canary) -> bool:
        """Whether the step has as many answers of the version as it waits for, over the minutes that are counted."""
        minutes = min(int((self._now() - record.began[-1]) // 60) + 1, 29)
        return (
            await self._gateway.vitals.read(version_label(record.version), minutes)
        ).answers >= settings.least_answers

    async def _on(self, record: CanaryRecord, now: float) -> None:
        if len(record.began) < len(record.steps):
            if await self._records.replace(record, structs.replace(record, began=(*record.began, now))):
                share = record.steps[len(record.began)]
                log.info("version %s goes to %.0f %% of the users", record.version, 100 * share)
            return
        try:
            await promotion.complete(self._store, record.version, self._redis, record.base)
        except VersionError as error:
            await self._back(record, f"refused: {error}", "refused")
            return
        await self._note(record, "promoted", "no guardrail was touched on the way")
        await self._records.replace(record, None)
        log.info("version %s is served to everybody", record.version)

    async def _back(self, record: CanaryRecord, reason: str, kind: str) -> None:
        if not await self._records.replace(record, None):
            return
        self._telemetry.add("recsys_canaries_rolled_back_total", reason=kind)
        log.warning("version %s is taken back: %s", record.version, reason)
        with contextlib.suppress(RecsysError):  # it may have been removed
            await self._note(record, "rolled_back", reason)

    async def _note(self, record: CanaryRecord, outcome: str, reason: str) -> None:
        verdict = CanaryVerdict.model_validate(
            {
                "outcome": outcome,
                "reason": reason,
                "base": record.base,
                "share": record.share,
                "began": record.asked_at,
                "ended": self._now(),
            }
        )
        await asyncio.to_thread(self._store.note_canary, record.version, verdict)
