"""What the platform measures of itself: every metric by name, and where measurements go.

Names and units follow Prometheus' conventions (prometheus.io/docs/practices/naming): base units, `_total` for counters.
Measurements are made once a batch or once a second, never once a request or a candidate.

A counter begins at 0 and not with its first event, of which a rate over it would see nothing. `zeros` names the series
that a replica knows when it starts; of others whoever counts them says `add(name, 0, ...)` as soon as it knows them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Role = Literal["composer", "shard", "encoder"]
"""A kind of replica."""

SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""Upper edges of the buckets of times, fine where answers lie."""
REQUESTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0)
"""Upper edges of the buckets of batch sizes."""


@dataclass(frozen=True, slots=True)
class Metric:
    """`buckets` are a histogram's upper edges."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    counted_by: Role | None = None
    """Of a counter: the kind of replica whose counter begins at 0; None: whoever counts begins it."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a counter: the values of its labels that are known beforehand, by label."""


def _counter(help_: str, by: Role | None, **values: tuple[str, ...]) -> Metric:
    """`by`: see `Metric.counted_by`. `values`: see `Metric.values`; a label without any has an empty tuple."""
    return Metric("counter", help_, tuple(values), counted_by=by, values=values)


METRICS: dict[str, Metric] = {
    # Every replica.
    "recsys_busy_ratio": Metric("gauge", "Share of the last second for which the replica worked"),
    "recsys_queue_age_seconds": Metric("gauge", "How long the oldest waiting request has waited"),
    "recsys_batch_fill_ratio": Metric("gauge", "Mean batch of the last second over the largest allowed"),
    "recsys_memory_bytes": Metric("gauge", "Resident memory of the replica's process"),
    "recsys_version_info": Metric("gauge", "1 for each version that the replica serves or holds", ("version",)),
    "recsys_settings_refused": Metric(
        "gauge", "1 while the replica goes by the settings of before, for those that it was handed last are wrong"
    ),
    "recsys_background_errors_total": _counter("Failed steps of a loop that runs on in the background", None, task=()),
    "recsys_rejected_versions": Metric("gauge", "Versions that the replica should hold or serve and cannot open"),
    # Batches, of composers (queue: recommend, events), encoders (encode) and shards (search).
    "recsys_batch_requests": Metric("histogram", "Requests of a batch", ("queue",), REQUESTS),
    "recsys_batch_seconds": Metric("histogram", "From a batch's departure to its results", ("queue",), SECONDS),
    "recsys_answer_seconds": Metric(
        "histogram", "From the arrival of a batch's oldest request to its result", ("queue",), SECONDS
    ),
    "recsys_queue_requests": Metric("gauge", "Requests that wait for a batch", ("queue",)),
    # Composers.
    "recsys_stage_seconds": Metric("histogram", "One stage of one batch of recommendations", ("stage",), SECONDS),
    "recsys_slates_total": _counter("Recommendations answered", "composer"),
    "recsys_degraded_slates_total": _counter("Recommendations answered without a part", "composer", part=("profiles",)),
    "recsys_refused_total": _counter(
        "Recommendations not answered, by the error's code; overloaded counts calls of every kind",
        "composer",
        code=("bad_input", "internal", "not_found", "outdated", "overloaded", "unavailable", "version_error"),
    ),
    "recsys_given_up_total": _counter(
        "Reads not begun: their callers had gone, or had waited for the whole budget (late)",
        "composer",
        reason=("gone", "late"),
    ),
    "recsys_profiles_total": _counter(
        "Profiles asked for: hit, rebuilt, stale (not rebuilt in time), new (no events yet) or missing (Redis is away)",
        "composer",
        result=("hit", "rebuilt", "stale", "new", "missing"),
    ),
    "recsys_events_total": _counter(
        "Events acknowledged: accepted, duplicate or too_old (not taken)",
        "composer",
        result=("accepted", "duplicate", "too_old"),
    ),
    "recsys_published_recall_ratio": Metric("gauge", "recall@10 in the manifest of the served version"),
    "recsys_channel_refused_total": _counter(
        "Replicas of a shard that did not prove that they know the channels' secret", None, shard=()
    ),
    "recsys_hedged_calls_total": _counter(
        "Searches of a late shard made again at another replica, which was first (won) or not (lost)",
        "composer",
        outcome=("won", "lost"),
    ),
    # The log of answers and outcomes, of composers.
    "recsys_logged_slates_total": _counter(
        "Recommendations for the log of answers: written, or lost for want of room in the composer (queue_full) or in "
        "Redis (log_full)",
        "composer",
        result=("written", "queue_full", "log_full"),
    ),
    "recsys_slate_log_queue": Metric("gauge", "Recommendations that wait in the composer to be logged"),
    "recsys_slate_log_lag_seconds": Metric(
        "gauge", "Age of the oldest entry of the log (answers, outcomes) that is in no file yet", ("stream",)
    ),
    "recsys_outcomes_answers": Metric(
        "gauge", "Answers of the last day, as last joined with what came of them", ("scenario", "variant")
    ),
    "recsys_outcomes_click_through_ratio": Metric(
        "gauge", "Share of the items of these answers that were clicked", ("scenario", "variant")
    ),
    "recsys_outcomes_conversion_ratio": Metric(
        "gauge", "Share of these answers of which an item was bought", ("scenario", "variant")
    ),
    "recsys_outcomes_value_per_answer": Metric(
        "gauge", "Value of what was bought of these answers, by answer", ("scenario", "variant")
    ),
    "recsys_canary_ratio": Metric(
        "gauge", "Share of the users on the version that goes out step by step; 0: none does"
    ),
    "recsys_canaries_rolled_back_total": _counter(
        "Versions taken back on the way out: p99, degraded, recall, worse, rejected, late, refused or replaced",
        "composer",
        reason=("p99", "degraded", "recall", "worse", "rejected", "late", "refused", "replaced"),
    ),
    "recsys_experiments_running": Metric("gauge", "Experiments in force"),
    "recsys_stopped_variants_total": _counter(
        "Variants that a guardrail has stopped: p99, degraded or worse",
        "composer",
        reason=("p99", "degraded", "worse"),
    ),
    # Shards.
    "recsys_recall_ratio": Metric(
        "gauge",
        "recall@10 of searches answered again exactly, over the last of them, by shape of the filter (none: no filter)",
        ("shape",),
    ),
    "recsys_recall_queries_total": _counter("Searches answered again exactly", "shard"),
    "recsys_filtered_searches_total": _counter(
        "Requests whose neighbours were looked for under a filter: by plan (a request may count under two), and by the "
        "share of items that match (wide: a fifth or more, middle: a fiftieth or more, narrow)",
        "shard",
        plan=("post_filter", "exact", "allow_list"),
        shape=("wide", "middle", "narrow"),
    ),
    "recsys_recall_cpu_seconds_total": _counter("CPU time of answering searches again", "shard"),
    "recsys_recall_lower_ratio": Metric("gauge", "Lower bound of recall@10 at the ef_search in force"),
    "recsys_recall_changes_total": _counter(
        "Changes for the recall floor: raise, lower, bound (a rebuild is asked for), exact, walk",
        "shard",
        action=("raise", "lower", "bound", "exact", "walk"),
    ),
    "recsys_recall_lost": Metric("gauge", "1 while no ef_search within its bounds holds the recall floor"),
    "recsys_search_effort": Metric("gauge", "Value of ef_search in force for the newest version that is searched"),
    "recsys_items": Metric("gauge", "Live items", ("version",)),
    "recsys_freshness_seconds": Metric("histogram", "From a change's entry in the log to its application", (), SECONDS),
    "recsys_log_lag_seconds": Metric("gauge", "How far the replica is behind the newest entry of its log"),
    "recsys_log_entries": Metric("gauge", "Entries of the shard's log"),
    # Encoders.
    "recsys_texts_total": _counter("Texts asked for: cached or encoded", "encoder", result=("cached", "encoded")),
}


def zeros(role: Role) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the counters that such a replica has from its start, by name and labels."""
    for name, metric in METRICS.items():
        if metric.counted_by == role:
            for values in itertools.product(*(metric.values[label] for label in metric.labels)):
                yield name, dict(zip(metric.labels, values, strict=True))


class Telemetry(Protocol):
    """Takes measurements by a name of METRICS and the values of its labels. Never raises, never waits."""

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """To a counter. An amount of 0 begins it, where it has not begun."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """A gauge."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """In a histogram."""

    def flush(self) -> None:
        """Once a second: counters may wait for it."""


class Changing:
    """A gauge whose labels come and go. A series that has gone is set once more, to 0: it would stay as it was last."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry = telemetry
        self._name = name
        self._present: frozenset[tuple[str, ...]] = frozenset()

    def tell(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Set all series that there are. `values`: by the values of the labels, in their order."""
        gone = dict.fromkeys(self._present - values.keys(), 0.0)
        for labels, value in {**gone, **values}.items():
            self._telemetry.set(self._name, value, **dict(zip(METRICS[self._name].labels, labels, strict=True)))
        self._present = frozenset(values)


class Silent:
    """Telemetry that goes nowhere."""

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None: ...
    def set(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...
    def flush(self) -> None: ...


SILENT: Telemetry = Silent()
