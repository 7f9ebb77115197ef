"""What `load_tests.ann` found, as tables and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {
    "effort": "effort",
    "recall": "recall@10",
    "queries_s": "queries/s",
    "queries_s_2_threads": "2 threads",
    "cpu_us": "CPU µs",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "build_s": "build s",
    "process_mib": "process MiB",
}


def show(results: dict[str, Any]) -> None:
    console = Console(width=130)
    for name, rows in results["sets"].items():
        table = Table("contender", *_COLUMNS.values(), title=f"{name}: each set for recall@10 {results['recall']}")
        for contender, row in sorted(rows.items(), key=lambda one: -one[1].get("queries_s", 0)):
            if "error" in row:
                console.print(f"{contender}: {row['error']}", markup=False, style="yellow")
                continue
            style = None if row["reached"] else "dim"
            table.add_row(contender, *(f"{row[column]:,}" for column in _COLUMNS), style=style)
        console.print(table)
        for other, share in ratios(rows).items():
            console.print(f"recsys:hnsw, queries/s / {other}: {share}")


def ratios(rows: dict[str, Any], ours: str = "recsys:hnsw") -> dict[str, float]:
    """Queries a second of our shard on hnswlib over those of each other contender that reached the recall."""
    mine = rows.get(ours, {})
    if not mine.get("reached"):
        return {}
    return {
        name: round(mine["queries_s"] / row["queries_s"], 2)
        for name, row in rows.items()
        if row.get("reached") and not name.startswith("recsys")
    }


def plot(results: dict[str, Any], file: Path) -> None:
    """Queries a second against memory, a panel for each set of vectors."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second

    sets = results["sets"]
    figure = Figure(figsize=(6.5 * len(sets), 5), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True):
        for contender, row in rows.items():
            if not row.get("reached"):
                continue
            ours = contender.startswith("recsys")
            axes.scatter(row["process_mib"], row["queries_s"], s=60, color="tab:blue" if ours else "tab:orange")
            axes.annotate(contender, (row["process_mib"], row["queries_s"]), fontsize=8, xytext=(4, 4),
                          textcoords="offset points")  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="memory of the process, MiB", ylabel="queries/s, one thread",
                 title=f"{name}, recall@10 {results['recall']}")  # fmt: skip
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=130)
