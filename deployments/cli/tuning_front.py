"""What `recsys tune` tried and chose, as a table, a line and JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

from recsys.jobs.tune import Report
from recsys.tuning.halving import Choice
from recsys.tuning.settings import label


def costs(report: Report, choice: Choice) -> str:
    """In one line."""
    by_group = ", ".join(f"{group} {interval}" for group, interval in choice.intervals.items())
    return (
        f"{label(choice.trial.spec)}, ef_search {choice.point.ef_search}: {choice.trial.build_s:.1f} s to build, "
        f"{choice.trial.bytes_an_item:,.0f} bytes an item, {1e6 / choice.point.cpu_us:,.0f} queries/s a core, p99 "
        f"{choice.point.p99_ms:.2f} ms; recall@10 with its 95 % interval: {by_group} (tastes of {report.tastes_of})"
    )


def rows(report: Report) -> list[dict[str, Any]]:
    """What was tried, as far as it came, cheapest first: each at the smallest effort that was enough, else at the
    largest.
    """
    shown = []
    for one in report.outcome.tried:
        points = one.trial.measurement.points
        point = next((p for p in points if one.projected is not None and p.recall >= report.recall), points[-1])
        shown.append(
            {
                "setting": label(one.trial.spec),
                "items": one.trial.items,
                "ef_search": point.ef_search,
                "recall": round(point.recall, 4),
                "enough": one.projected is not None,
                "cpu_us": round(point.cpu_us, 1),
                "queries_s_a_core": round(1e6 / point.cpu_us),
                "p50_ms": round(point.p50_ms, 3),
                "p99_ms": round(point.p99_ms, 3),
                "bytes_an_item": round(one.trial.bytes_an_item),
                "process_bytes": one.trial.measurement.process_bytes,
                "build_s": round(one.trial.build_s, 1),
            }
        )
    return on_front(shown)


def on_front(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With `front`: whether nothing that was tried on as many items is better in recall, cost and memory at once."""
    for row in shown:
        row["front"] = not any(
            other["items"] == row["items"]
            and all(a <= b for a, b in zip(_cost(other), _cost(row), strict=True))
            and _cost(other) != _cost(row)
            for other in shown
        )
    return shown


def _cost(row: dict[str, Any]) -> tuple[float, float, float]:
    return -row["recall"], row["cpu_us"], row["bytes_an_item"]


def show(report: Report) -> None:
    table = Table(
        Column("setting", no_wrap=True), "items", "ef", "recall@10", "queries/s a core", "p99 ms", "bytes/item",
        "build s", "front",
        title=f"{report.version}: {report.items:,} items in {report.shards} shards, {report.seconds:.0f} s",
    )  # fmt: skip
    for row in rows(report):
        table.add_row(
            row["setting"], f"{row['items']:,}", str(row["ef_search"]), f"{row['recall']:.4f}",
            f"{row['queries_s_a_core']:,}", f"{row['p99_ms']:.2f}", f"{row['bytes_an_item']:,}", str(row["build_s"]),
            "yes" if row["front"] else "", style=None if row["enough"] else "dim",
        )  # fmt: skip
    Console().print(table)
    for setting, why in report.outcome.left_out.items():
        Console(stderr=True).print(f"left out: {setting}: {why}", style="yellow", markup=False, soft_wrap=True)


def as_json(report: Report, *, written: bool) -> dict[str, Any]:
    choice = report.outcome.choice
    chosen = None if choice is None else {
        "index": choice.trial.spec.model_dump(),
        "ef_search": choice.point.ef_search,
        "build_s": round(choice.trial.build_s, 1),
        "bytes_an_item": round(choice.trial.bytes_an_item),
        "shard_bytes": round(report.shard_bytes or 0),
        "queries_s_a_core": round(1e6 / choice.point.cpu_us),
        "p50_ms": round(choice.point.p50_ms, 3),
        "p99_ms": round(choice.point.p99_ms, 3),
        "recall": {
            group: {"mean": round(i.mean, 4), "low": round(i.low, 4), "high": round(i.high, 4)}
            for group, i in choice.intervals.items()
        },
    }  # fmt: skip
    return {
        "version": report.version,
        "items": report.items,
        "shards": report.shards,
        "tastes_of": report.tastes_of,
        "shapes": list(report.shapes),
        "seconds": report.seconds,
        "chosen": chosen,
        "written": written,
        "tried": rows(report),
        "left_out": dict(report.outcome.left_out),
    }
