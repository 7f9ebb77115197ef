"""What the platform does by itself, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from recsys.config.base import Settings


def _cron(expression: str) -> str:
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(
            f"{expression!r} is no cron expression ({error}); `0 3 * * *` is every night at three"
        ) from None
    return expression


Cron = Annotated[str, AfterValidator(_cron)]


class Rebuild(Settings):
    """When a new version is built of what is live and promoted, unattended; all None, and `recall_lost` false: never,
    and the log grows.
    """

    cron: Cron | None = "0 3 * * *"
    """Five fields in UTC, as in cron: `0 3 * * *` is every night at three."""
    log_share: float | None = Field(None, gt=0, le=1)
    """Past this share of a shard's items that only the log holds, rebuild."""
    dead_share: float | None = Field(None, gt=0, le=1)
    """Past this share of a shard's rows that are tombstones, rebuild."""
    recall_below: float | None = Field(None, gt=0, le=1)
    """When a shard's measured recall@10 is below this, rebuild."""
    recall_lost: bool = True
    """When a shard cannot hold its recall floor by `ef_search` within its bounds (`recall` of the shards), rebuild."""
    pause_s: float = Field(3600.0, ge=1)
    """Seconds after the begin of a rebuild for which neither drift nor a shard begins another."""

    @property
    def wanted(self) -> bool:
        limits = (self.cron, self.log_share, self.dead_share, self.recall_below)
        return self.recall_lost or any(limit is not None for limit in limits)


class Retrain(Settings):
    """When the platform learns anew from its histories, and how good the result must be to be served, unattended."""

    cron: Cron | None = None
    """As in `rebuild`; None: never. Off by default, for it takes minutes of a core and memory that grows with the
    catalogue, and changes what people see: to be switched on once `recsys train --if-better` has run by hand."""
    margin: float = Field(0.005, ge=0, le=1)
    """By how much NDCG@10 on the newest events may be under that of the served version; past it, that one stays."""
    canary: bool = False
    """Whether a version that is good enough goes out to a part of the users first, as `canary` says; false: to all."""
    held_out: float = Field(0.1, gt=0, le=0.5)
    """The newest share of the events, which both are judged by: fewer where the served version knows some of them."""
    events: int = Field(5_000_000, ge=1000)
    """The newest events that are learned from, at the most."""
    least_cases: int = Field(50, ge=10)
    """Users among these events, known before them; with fewer nothing is trained, for chance would decide."""
    pause_s: float = Field(3600.0, ge=1)
    """Seconds after the end of a retraining for which none begins, however long it took."""

    @property
    def wanted(self) -> bool:
        return self.cron is not None
