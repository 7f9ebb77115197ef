"""The loops by which a composer keeps the log of answers: it is written, put into files, and summed up.

Beside them the loops of experiments, which read it.
"""

from __future__ import annotations

from redis.asyncio import Redis

from recsys.outcomes.collecting import COLLECT_S, Collector
from recsys.outcomes.summary import TELL_S, Summary
from recsys.serving.background import Background
from recsys.serving.gateway import Gateway
from recsys.serving.guard import GUARD_S, Guard
from recsys.serving.slate_writer import WRITE_S
from recsys.state.vitals import FLUSH_S
from recsys.telemetry import SILENT, Telemetry


def keep_log(background: Background, gateway: Gateway, redis: Redis, telemetry: Telemetry = SILENT) -> None:
    """Start the loops. They go by the gateway's settings as these change."""

    def roles() -> dict[str, str]:
        return gateway.settings.outcome_roles()

    collector = Collector(redis, gateway.log_files, lambda: gateway.settings.slate_log.keep_hours, telemetry)
    summary = Summary(redis, gateway.log_files, roles, lambda: gateway.settings.slate_log.window_s, telemetry)
    background.start("slate-log", gateway.answers.step, WRITE_S)
    background.start("slate-files", collector.step, COLLECT_S)
    background.start("outcomes", summary.step, TELL_S)
    guard = Guard(redis, gateway.experiments, gateway.vitals, telemetry)
    background.start("vitals", gateway.vitals.flush, FLUSH_S)
    background.start("experiments", guard.step, GUARD_S)
