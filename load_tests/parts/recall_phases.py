"""What came of a run of `held_recall`: its phases, and their table and plot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from load_tests.comparison import results


@dataclass
class Phase:
    """A disturbance and what follows. Times in seconds of the run."""

    name: str
    begins: float
    ends: float = 0.0
    regained_s: float | None = None
    """From the disturbance to the moment from which the true recall was over the floor; None: it never was."""
    searches_at: dict[int, int] = field(default_factory=dict)
    """`ef_search` -> searches that were answered with it."""
    shadow_s: float = 0.0
    """CPU seconds of answering searches again."""
    fixed: dict[int, tuple[float, float]] = field(default_factory=dict)
    """`ef_search` -> true recall, CPU seconds of a search; of this phase's items and searches."""

    def cost(self, ef: int) -> float:
        """CPU seconds of a search."""
        steps = sorted(self.fixed)
        return float(np.interp(ef, steps, [self.fixed[step][1] for step in steps]))

    def best_fixed(self, floor: float) -> int:
        return next((ef for ef in sorted(self.fixed) if self.fixed[ef][0] >= floor), max(self.fixed))

    @property
    def searches(self) -> int:
        return sum(self.searches_at.values())

    @property
    def spent_s(self) -> float:
        return sum(n * self.cost(ef) for ef, n in self.searches_at.items()) + self.shadow_s


def summary(args: argparse.Namespace, phases: Sequence[Phase], series: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`series`: the looks at the shard, in their order."""
    floor = args.floor
    for_all = max(phase.best_fixed(floor) for phase in phases)
    rows = [
        {
            "phase": phase.name,
            "begins_s": round(phase.begins, 1),
            "ends_s": round(phase.ends, 1),
            "regained_s": phase.regained_s,
            "mean_recall": round(float(np.mean(_recalls(series, phase))), 4),
            "ends_at_ef": series[_last(series, phase.ends)]["ef_search"],
            "best_fixed_ef": phase.best_fixed(floor),
            "cpu_us": round(1e6 * phase.spent_s / phase.searches, 1),
            "best_fixed_us": round(1e6 * phase.cost(phase.best_fixed(floor)), 1),
            "one_fixed_us": round(1e6 * phase.cost(for_all), 1),
            "shadow_us": round(1e6 * phase.shadow_s / phase.searches, 1),
            "shadow_share": round(phase.shadow_s / (phase.ends - phase.begins), 4),
        }
        for phase in phases
    ]
    spent, searches = sum(p.spent_s for p in phases), sum(p.searches for p in phases)
    each = sum(p.searches * p.cost(p.best_fixed(floor)) for p in phases)
    one = sum(p.searches * p.cost(for_all) for p in phases)
    return {
        "machine": results.machine(),
        "args": {name: str(value) for name, value in vars(args).items()},
        "one_fixed_ef": for_all,
        "searches": searches,
        "over_one_fixed": round(spent / one - 1.0, 4),
        "over_the_best_of_each_phase": round(spent / each - 1.0, 4),
        "phases": rows,
        "series": series,
    }


def _recalls(series: Sequence[dict[str, Any]], phase: Phase) -> list[float]:
    return [one["recall"] for one in series if phase.begins <= one["t"] <= phase.ends]


def _last(series: Sequence[dict[str, Any]], until: float) -> int:
    return max(i for i, one in enumerate(series) if one["t"] <= until)


def show(outcome: dict[str, Any], floor: float) -> None:
    table = Table(
        "phase", "floor again after", "mean recall@10", "ef at its end", "best fixed ef", "CPU µs", "best fixed",
        f"fixed {outcome['one_fixed_ef']}", "of which shadow", title=f"recall floor {floor}",
    )  # fmt: skip
    for row in outcome["phases"]:
        regained = "never" if row["regained_s"] is None else f"{row['regained_s']:.0f} s"
        table.add_row(
            row["phase"], regained, f"{row['mean_recall']:.4f}", str(row["ends_at_ef"]), str(row["best_fixed_ef"]),
            *(f"{row[f'{cost}_us']:.0f}" for cost in ("cpu", "best_fixed", "one_fixed", "shadow")),
        )  # fmt: skip
    Console(width=140).print(table)
    print(
        f"CPU of the whole run: {outcome['over_one_fixed']:+.1%} over ef_search {outcome['one_fixed_ef']} throughout, "
        f"the least that holds the floor in every phase; {outcome['over_the_best_of_each_phase']:+.1%} over "
        "the best of each"
    )


def plot(outcome: dict[str, Any], floor: float, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    times = [one["t"] for one in outcome["series"]]
    figure, (recall, ef) = plt.subplots(2, 1, figsize=(11, 6.5), sharex=True)
    recall.plot(times, [one["recall"] for one in outcome["series"]], label="true recall@10 (400 other searches)")
    recall.plot(times, [one["lower"] for one in outcome["series"]], label="lower bound, as measured", lw=0.9)
    recall.axhline(floor, color="black", lw=0.8, ls="--", label=f"floor {floor}")
    recall.set_ylim(0.7, 1.0)
    recall.set_ylabel("recall@10")
    recall.legend(loc="lower right", fontsize=8)
    ef.step(times, [one["ef_search"] for one in outcome["series"]], where="post", label="ef_search")
    for row in outcome["phases"]:
        ef.hlines(row["best_fixed_ef"], row["begins_s"], row["ends_s"], color="tab:green", lw=1.2)
        for axis in (recall, ef):
            axis.axvline(row["begins_s"], color="grey", lw=0.6)
        ef.text(row["begins_s"], 1100, row["phase"], fontsize=8)
    ef.plot([], [], color="tab:green", label="least that holds the floor")
    ef.set_yscale("log")
    ef.set_ylabel("ef_search")
    ef.set_xlabel("seconds")
    ef.legend(loc="upper right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
