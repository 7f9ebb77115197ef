"""The table of faults, the JSON of it, and what of it must not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BACK_WITHIN_S = 10.0
UPSERT_MS = 250.0
BATCH_MS = 2000.0
_HARMLESS = ("disk full", "snapshot corrupt", "ten swaps", "shard scaled up and down", "shard replica hangs")
"""Faults that take nothing away that another could not do: no request may fail."""


def show(faults: list[dict[str, Any]], freshness: dict[str, Any] | None) -> None:
    columns = ("requests", "failed", "refused", "overloaded", "degraded", "gap_s", "recovered_s")
    table = Table("fault", *columns, "acknowledged", "lost", "rule breaks")
    for row in faults:
        cells = [row["name"], *(row[c] for c in columns), row["acknowledged_writes"], row["writes_lost"]]
        table.add_row(*map(str, [*cells, row["rule_breaks"]]))
    console = Console(width=140)
    console.print(table)
    for row in faults:
        for kind, count in row["failures"].items():
            console.print(f"{row['name']}: {count} x {kind}", markup=False)
        if row.get("note"):
            console.print(f"{row['name']}: {row['note']}", markup=False, soft_wrap=True)
    if freshness:
        console.print("freshness, ms:", freshness)


def broken(faults: list[dict[str, Any]], freshness: dict[str, Any] | None) -> list[str]:
    """The promises that were not kept."""
    broken_promises = []
    for row in faults:
        name = row["name"]
        broken_promises += [f"{name}: {row['writes_lost']} acknowledged writes lost"] * bool(row["writes_lost"])
        broken_promises += [f"{name}: {row['rule_breaks']} answers break a rule"] * bool(row["rule_breaks"])
        broken_promises += [f"{name}: no read answered for {row['gap_s']} s"] * (row["gap_s"] > BACK_WITHIN_S)
        broken_promises += [f"{name}: {row['problem']}"] * bool(row["problem"])
        broken_promises += [f"{name}: {row['failed']} requests failed"] * bool(name in _HARMLESS and row["failed"])
    if freshness:
        broken_promises += [f"{freshness['stale_events']} events were not in the next recommendation"] * bool(
            freshness["stale_events"]
        )
        broken_promises += [
            f"{kind}: p99 {freshness[kind]['p99']} ms, over {UPSERT_MS}"
            for kind in ("upsert", "delete")
            if freshness[kind]["p99"] > UPSERT_MS
        ]
        batch = freshness["batch_of_1000_items"]
        broken_promises += [f"a batch of 1,000 items took {batch} ms, over {BATCH_MS}"] * (batch > BATCH_MS)
    return broken_promises


def write(file: Path, faults: list[dict[str, Any]], freshness: dict[str, Any] | None) -> None:
    swaps = next((row for row in faults if row["name"] == "ten swaps"), None)
    result = {
        "faults": faults,
        "swaps": swaps and {"swaps": 10, "requests": swaps["requests"], "failed": swaps["failed"],
                            "mixed": swaps["rule_breaks"]},
        "freshness_ms": freshness,
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
