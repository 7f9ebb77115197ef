"""What the Composer goes by: its `user_config`, which changes live."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from recsys.config.base import Name, Settings
from recsys.config.canary import Canary
from recsys.config.scenarios import EventType, Scenario, Segments, default_event_types, default_scenarios
from recsys.config.security import Security
from recsys.config.slate_log import SlateLog
from recsys.config.unattended import Rebuild, Retrain


class Limits(Settings):
    """Beyond these a request is refused with a 4xx that names the limit."""

    k: int = Field(100, ge=1, le=1000)
    """Items in one answer."""
    body_bytes: int = Field(8 << 20, ge=1024)
    """Bytes of a request body."""
    body_s: float = Field(60.0, gt=0, le=3600)
    """Seconds within which a request body must have come, however steadily it does."""
    bulk: int = Field(1000, ge=1, le=100_000)
    """Events or items in one call; ids in one rank or exclude list."""
    text_chars: int = Field(20_000, ge=1)
    """Characters of an item's text."""
    query_chars: int = Field(2_000, ge=1)
    """Characters of a search query."""
    clock_skew_s: float = Field(60.0, ge=0)
    """An event may lie this far in the future, in seconds; later is refused."""


class Tracing(Settings):
    """Traces by OpenTelemetry; docs/metrics.md says what is in them."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
    """Where spans go by OTLP over HTTP, the whole URL, such as http://127.0.0.1:4318/v1/traces; None: no traces.
    Headers that the receiver asks for, such as a key of its own, belong in $OTEL_EXPORTER_OTLP_HEADERS."""
    sample: float = Field(0.01, ge=0, le=1)
    """Share of the requests that are traced. One that comes with a `traceparent` is traced as that says."""


class Serving(Settings):
    """The Composer's `user_config`: changes live, without a restart."""

    scenarios: dict[Name, Scenario] = Field(default_factory=default_scenarios)
    event_types: dict[Name, EventType] = Field(default_factory=default_event_types)
    taste_half_life: float = Field(10.0, gt=0)
    """Likes after which a like counts half as much in the user's vector."""
    trend_half_life_s: float = Field(86_400.0, ge=60)
    """Seconds after which an event counts half as much in what is trending. Set it before the first event."""
    recency_half_life_s: float = Field(30 * 86_400.0, ge=60)
    """Seconds after `created_at` at which an item is half as new."""
    history: int = Field(1000, ge=10, le=100_000)
    """Events kept of each user. The oldest go once there are a tenth more, all of that tenth together."""
    user_ttl_s: int | None = Field(400 * 86_400, ge=3600)
    """Seconds after a user's last event in which all that is known of the user expires, or up to a hundredth sooner;
    None: never, and Redis grows with every visitor who comes once. It counts from the next event of each user on."""
    profile_ttl_s: int = Field(7 * 86_400, ge=60)
    """Seconds for which an unused user vector stays cached; it is rebuilt from the history."""
    budget_s: float = Field(1.0, gt=0, le=60)
    """Seconds a read may take, from the moment at which HAProxy has read it; a shard later than this is left out, and
    the answer says so."""
    write_budget_s: float = Field(30.0, gt=0, le=600)
    """Seconds that encoding the items of one call may take; then it is refused with 503, and none is written."""
    max_batch: int = Field(64, ge=1, le=1024)
    """Requests that travel together at the most."""
    hedge_share: float = Field(0.05, ge=0, le=0.5)
    """Of the calls to each of several shards, the share that may be made again: a call that takes longer than all but
    so many goes to another replica of the shard, too, and the first answer counts. 0: none is."""
    flights: int = Field(2, ge=1, le=64)
    """Batches under way at the same time in one composer."""
    max_waiting: int = Field(2000, ge=1)
    """Requests of one kind that may wait in one composer; past that it answers 429. The kinds are slates, searched
    texts, calls of events, reads of one item, and deletes."""
    segments: Segments = Segments()
    limits: Limits = Limits()
    slate_log: SlateLog = SlateLog()
    canary: Canary = Canary()
    rebuild: Rebuild = Rebuild()
    retrain: Retrain = Retrain()
    security: Security = Security()
    tracing: Tracing = Tracing()

    @model_validator(mode="after")
    def _has_the_named_scenarios(self) -> Serving:
        missing = {"home", "similar", "search", "rank"} - self.scenarios.keys()
        if missing:
            raise ValueError(f"scenarios: {', '.join(sorted(missing))} missing; the API's calls are bound to them")
        return self

    def outcome_roles(self) -> dict[str, str]:
        """Event type -> what an event of it is to the answer that it names; types that are nothing are left out."""
        return {name: kind.counts_as for name, kind in self.event_types.items() if kind.counts_as}
