"""A sweep as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
COLUMNS = {
    "rps": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_us": "CPU µs/request",
    "errors": "errors",
    "recall_at_10": "recall@10",
    "build_s": "build s",
    "build_cpu_s": "build CPU s",
    "build_mib": "build MiB",
    "index_bytes": "index B/item",
    "version_bytes": "version B/item",
    "shards_own_mib": "shards' own MiB",
    "shards_mib": "with files",
    "memory_mib": "all MiB",
    "others_cores": "others' cores",
}
PANELS = {
    "items": ("rps", "p50_ms", "p99_ms", "cpu_us", "recall_at_10", "build_cpu_s", "build_mib", "shards_own_mib"),
    "shards": ("rps", "p50_ms", "p99_ms", "cpu_us", "build_cpu_s", "build_mib", "shards_own_mib", "memory_mib"),
    "candidates": ("rps", "p50_ms", "p99_ms", "cpu_us", "recall_at_10", "memory_mib"),
    "clients": ("rps", "p50_ms", "p99_ms", "cpu_us"),
}
_GROWING = ("build_cpu_s", "build_mib", "shards_own_mib")
"""With items: a straight line on two logarithmic axes is what stays the same for each item."""


def show(axis: str, rows: list[Row]) -> None:
    table = Table(axis, "contender", "clients", *COLUMNS.values())
    for row in sorted(rows, key=lambda r: (r["contender"] != "recsys", r["value"], r["clients"])):
        table.add_row(f"{row['value']:,}", row["contender"], str(row["clients"]), *(_cell(row, c) for c in COLUMNS))
    Console(width=180).print(table)


def markdown(rows: list[Row]) -> str:
    """A table for each axis, for docs/scaling.md, of the most clients measured."""
    parts = []
    for axis, columns in PANELS.items():
        mine = [row for row in rows if row["axis"] == axis]
        most = max((row["clients"] for row in mine), default=0)
        lines = [[axis, "", *(COLUMNS[c] for c in columns)], ["---"] * (2 + len(columns))]
        shown = [row for row in mine if axis == "clients" or row["clients"] == most]
        shown.sort(key=lambda r: (r["contender"] != "recsys", r["value"]))
        lines += [[f"{row['value']:,}", row["contender"], *(_cell(row, c) for c in columns)] for row in shown]
        if mine:
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _cell(row: Row, column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if column.endswith("_bytes"):
        return f"{value / row['step']['work']['items']:,.0f}"
    if column == "recall_at_10":
        return f"{value:.3f}"
    return f"{value:,.1f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def plot(axis: str, rows: list[Row], file: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    columns = len(PANELS[axis]) // 2
    figure, panels = plt.subplots(2, columns, figsize=(3.4 * columns, 5.4), layout="constrained")
    ticks = sorted({row["value"] for row in rows})
    lines = dict.fromkeys((row["contender"], None if axis == "clients" else row["clients"]) for row in rows)
    for panel, column in zip(panels.flat, PANELS[axis], strict=True):
        for name, clients in lines:
            mine = [r for r in rows if r["contender"] == name and clients in (None, r["clients"]) and r.get(column)]
            mine.sort(key=lambda r: r["value"])
            shown = name if clients is None else f"{name}, {clients} client{'s' * (clients > 1)}"
            panel.plot([r["value"] for r in mine], [r[column] for r in mine], marker=".", label=shown)
        panel.set(title=COLUMNS[column], xscale="log")
        if axis == "items" and column in _GROWING:
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
        panel.set_xticks(ticks, [f"{n // 1000}k" if n >= 10_000 else str(n) for n in ticks], rotation=45)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels.flat[0].legend(fontsize="small")
    figure.suptitle(f"{axis} vary")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=70)
    plt.close(figure)
