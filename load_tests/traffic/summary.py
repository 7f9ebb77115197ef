"""The result of a load test, by call: rates, percentiles, errors, and what is no error but not a full answer either."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locust.env import Environment
from locust.stats import StatsEntry
from rich.table import Table

BUSY = " (429)"
"""Stands behind the name of a call that was answered with 429: neither its latency nor its number is the call's."""


@dataclass
class Tally:
    """Answers by call that said that something was missing from them."""

    degraded: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, degraded: Sequence[str]) -> None:
        if degraded:
            self.degraded[name] += 1


def options_of(environment: Environment) -> argparse.Namespace:
    """What the command line said, which Locust has read by the time that there is an environment of a test."""
    options = environment.parsed_options
    if options is None:
        raise RuntimeError("Locust has not read the command line")
    return options


def write_summary(environment: Environment, tally: Tally) -> None:
    options = options_of(environment)
    if not options.summary:
        return
    entries = {name: entry for (name, _), entry in environment.stats.entries.items()}
    calls = [
        _row(entry, busy.num_requests if (busy := entries.get(name + BUSY)) else 0, tally.degraded[name])
        for name, entry in sorted(entries.items())
        if not name.endswith(BUSY)
    ]
    report = {
        "url": environment.host,
        "shape": options.shape,
        "peak": options.peak,
        "seconds": options.seconds,
        "calls": calls,
        "errors": {f"{e.name}: {e.error}": e.occurrences for e in environment.stats.errors.values()},
    }
    Path(options.summary).write_text(json.dumps(report, indent=2) + "\n")


def _row(entry: StatsEntry, busy: int, degraded: int) -> dict[str, Any]:
    answered = entry.num_requests
    return {
        "call": entry.name,
        "requests": answered,
        "rps": round(entry.total_rps, 1),
        **{
            f"p{label}_ms": entry.get_response_time_percentile(share)
            for label, share in (("50", 0.5), ("95", 0.95), ("99", 0.99), ("99.9", 0.999))
        },
        "errors": entry.num_failures,
        "busy_429": busy,
        "degraded_share": round(degraded / answered, 4) if answered else 0.0,
    }


def table(report: dict[str, Any]) -> Table:
    columns = list(report["calls"][0]) if report["calls"] else ["call"]
    rows = Table(*columns, title=f"{report['shape']}, up to {report['peak']} requests/s for {report['seconds']} s")
    for call in report["calls"]:
        rows.add_row(*(str(call[column]) for column in columns))
    return rows
