"""An experiment as a picture: how the difference to the control became known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.errors import BadInput

_UNITS = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def draw(report: dict[str, Any], path: Path) -> None:
    """One panel a variant: the difference, the interval for one look, and the one that holds at every look.

    Raises BadInput where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - slow, and only a plot needs it
    except ImportError:
        raise BadInput("--plot needs matplotlib: pip install 'recsys[evaluate]'", field="plot") from None
    compared = report["compared"]
    unit, words = next((u, w) for u, w in _UNITS if report["end"] - report["started_at"] >= 2 * u or u == 1)
    figure = Figure(figsize=(9, 3.6 * len(compared)), layout="constrained")
    for axes, one in zip(figure.subplots(len(compared), squeeze=False)[:, 0], compared, strict=True):
        looks = [look for look in one["looks"] if look["difference"] and look["always"]]
        times = [(look["until"] - report["started_at"]) / unit for look in looks]
        for name, label, alpha in (("always", "holds at every look", 0.2), ("difference", "for one look", 0.35)):
            low, high = ([look[name][bound] for look in looks] for bound in ("low", "high"))
            axes.fill_between(times, low, high, alpha=alpha, color="tab:blue", linewidth=0, label=f"95 %, {label}")
        axes.plot(times, [look["difference"]["value"] for look in looks], color="tab:blue", label="difference")
        axes.axhline(0, color="black", linewidth=1)
        if looks:
            # The first looks are wide: the picture shows the later ones.
            half = max(look["always"]["high"] - look["always"]["value"] for look in looks[len(looks) // 4 :])
            middle = looks[-1]["difference"]["value"]
            axes.set_ylim(min(middle, 0) - 1.3 * half, max(middle, 0) + 1.3 * half)
        axes.set_title(f"{report['name']}: {one['variant']}, {one['verdict'].replace('_', ' ')}")
        axes.set_ylabel(f"difference of {report['experiment']['metric']}")
        axes.legend(fontsize=8, loc="upper right")
    axes.set_xlabel(f"{words} since the start")
    figure.savefig(path, dpi=150)
