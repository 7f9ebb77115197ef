"""What a composer's batches come to, told once a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable

from recsys.datatypes import Slate
from recsys.errors import RecsysError
from recsys.serving.event_writes import Recorded
from recsys.telemetry import Telemetry


class Recording:
    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def slates(self, batch: Awaitable[list[Slate | Exception]]) -> list[Slate | Exception]:
        results = await batch
        told = self._telemetry
        answered = [result for result in results if isinstance(result, Slate)]
        told.add("recsys_slates_total", len(answered))
        if answered:
            for stage, took_ms in answered[0].stages.items():  # one clock for the whole batch
                told.observe("recsys_stage_seconds", took_ms / 1000, stage=stage)
        for part, slates in Counter(part for slate in answered for part in slate.degraded).items():
            told.add("recsys_degraded_slates_total", slates, part=part)
        if len(answered) < len(results):
            for code, refused in Counter(_code(r) for r in results if not isinstance(r, Slate)).items():
                told.add("recsys_refused_total", refused, code=code)
        return results

    async def events(self, batch: Awaitable[list[Recorded | Exception]]) -> list[Recorded | Exception]:
        results = await batch
        recorded = [result for result in results if isinstance(result, Recorded)]
        self._telemetry.add("recsys_events_total", sum(r.accepted for r in recorded), result="accepted")
        self._telemetry.add("recsys_events_total", sum(r.duplicates for r in recorded), result="duplicate")
        self._telemetry.add("recsys_events_total", sum(r.too_old for r in recorded), result="too_old")
        return results


def _code(error: Exception) -> str:
    return error.code if isinstance(error, RecsysError) else "internal"
