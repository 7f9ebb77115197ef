"""What came of the answers of the last day, for Prometheus: one composer joins, all of them tell the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from redis.asyncio import Redis
from redis.exceptions import LockError

from recsys.outcomes.apart import report_apart
from recsys.outcomes.joining import Group, Question
from recsys.outcomes.log_files import LogFiles
from recsys.state import redis_keys
from recsys.telemetry import SILENT, Changing, Telemetry

TELL_S = 15.0
"""Seconds between two looks."""
_PERIOD_S = 86_400.0
_KEPT_S = 300.0
"""Seconds for which a summary stands, at the least."""
_SHARE = 0.01
"""Share of a core that joining may take: the longer it took, the longer a summary stands."""
_LOCK_S = 600.0


class Line(msgspec.Struct, frozen=True):
    """Of one scenario and variant."""

    scenario: str
    variant: str
    answers: int
    click_through: float | None
    conversion: float | None
    value_per_answer: float | None


_read = msgspec.json.Decoder(list[Line]).decode


class Summary:
    """`roles` tells what each event type is to an answer; `window_s` how long an event counts."""

    def __init__(
        self,
        redis: Redis,
        files: LogFiles,
        roles: Callable[[], Mapping[str, str]],
        window_s: Callable[[], float],
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._redis = redis
        self._files = files
        self._roles = roles
        self._window_s = window_s
        self._telemetry = telemetry
        self._answers = Changing(telemetry, "recsys_outcomes_answers")

    async def step(self) -> None:
        """Tell what is known, after joining anew where that is too old."""
        stored = await self._redis.get(redis_keys.SUMMARY)
        lines = await self._renewed() if stored is None else _read(stored)
        if lines is None:  # another composer joins them at this moment
            return
        self._answers.tell({(line.scenario, line.variant): line.answers for line in lines})
        for line in lines:
            labels = {"scenario": line.scenario, "variant": line.variant}
            for name, value in (
                ("recsys_outcomes_click_through_ratio", line.click_through),
                ("recsys_outcomes_conversion_ratio", line.conversion),
                ("recsys_outcomes_value_per_answer", line.value_per_answer),
            ):
                if value is not None:
                    self._telemetry.set(name, value, **labels)

    async def _renewed(self) -> Sequence[Line] | None:
        lock = self._redis.lock(redis_keys.SUMMARISING, timeout=_LOCK_S, blocking=False)
        if not await lock.acquire():
            return None
        try:
            now = time.time()
            question = Question(now - _PERIOD_S, now, ("scenario", "variant"), self._window_s(), self._roles())
            lines: list[Line] = []
            least_s = _KEPT_S  # also where it fails, which takes as long
            try:
                lines = await asyncio.to_thread(self._lines, question)
                least_s = _KEPT_S if lines else TELL_S
            finally:
                kept_s = max(least_s, (time.time() - now) / _SHARE)
                await self._redis.set(redis_keys.SUMMARY, msgspec.json.encode(lines), ex=round(kept_s))
            return lines
        finally:
            with contextlib.suppress(LockError):
                await lock.release()

    def _lines(self, question: Question) -> list[Line]:
        """Empty, and no process is started, where nothing was logged yet."""
        if not self._files.hours("answers"):
            return []
        return [_line(group) for group in report_apart(self._files, question).groups]


def _line(group: Group) -> Line:
    scenario, variant = map(str, group.key)
    of = group.measures
    return Line(scenario, variant, of.answers, of.click_through, of.conversion, of.value_per_answer)
