"""What `recsys tune` tried, as a picture: recall against latency, a bubble's area is memory."""

from __future__ import annotations

from pathlib import Path

from recsys.errors import BadInput
from recsys.jobs.tune import Report
from recsys.tuning.halving import Target
from recsys.tuning.settings import label

_BUBBLE = 0.15
"""Square points for a byte an item."""


def draw(report: Report, target: Target, path: Path) -> None:
    """One line a setting, one bubble an effort. Settings that were dropped on a sample are grey: they have other items.

    Raises BadInput where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - slow, and only a plot needs it
    except ImportError:
        raise BadInput("--plot needs matplotlib: pip install 'recsys[evaluate]'", field="plot") from None
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for one in report.outcome.tried:
        whole, points = one.trial.items == report.items, one.trial.measurement.points
        x, y = [point.p50_ms for point in points], [point.recall for point in points]
        size = max(one.trial.bytes_an_item * _BUBBLE, 12)
        (line,) = axes.plot(x, y, color=None if whole else "0.8", linewidth=1, zorder=2 if whole else 1)
        name = label(one.trial.spec) if whole else None
        axes.scatter(x, y, s=size, color=line.get_color(), alpha=0.55 if whole else 0.3, label=name)
    choice = report.outcome.choice
    if choice is not None:
        axes.scatter(
            choice.point.p50_ms, choice.point.recall, marker="*", s=160, color="black", zorder=3, label="chosen"
        )
    axes.axhline(target.recall, color="tab:red", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlabel("median of a search alone, ms")
    axes.set_ylabel("recall@10 of the group that finds least")
    axes.set_title(f"{report.items:,} items; a bubble's area is bytes an item; grey: tried on a sample")
    axes.legend(fontsize=8, loc="lower right", markerscale=0.5)
    figure.savefig(path, dpi=150)
