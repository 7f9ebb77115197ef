"""What a comparison found: ratios, a table, a plot, JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from load_tests.comparison.wrk import Measured

Runs = dict[str, list[Measured]]
OURS, TRAINED, MONOLITH, NAIVE = "recsys", "trained", "monolith-2", "naive"
NOOP, BARE, ECHO = "noop", "noop-bare", "echo"


def ratios(runs_of: Runs, encoders: dict[str, Any] | None) -> dict[str, float | None]:
    """None where a contender or a number of clients was not measured."""
    return {
        "vs_naive": _over(_peak(runs_of, OURS), _peak(runs_of, NAIVE)),
        "vs_monolith": _over(_peak(runs_of, OURS), _peak(runs_of, MONOLITH)),
        "vs_noop": _over(_peak(runs_of, OURS), _peak(runs_of, NOOP)),
        "vs_noop_bare": _over(_peak(runs_of, OURS), _peak(runs_of, BARE)),
        "vs_echo": _over(_peak(runs_of, OURS), _peak(runs_of, ECHO)),
        "p50_vs_monolith": _over(_at(runs_of, OURS, 1, "p50_ms"), _at(runs_of, MONOLITH, 1, "p50_ms")),
        "p99_vs_monolith": _over(_at(runs_of, OURS, 32, "p99_ms"), _at(runs_of, MONOLITH, 32, "p99_ms")),
        "trained_vs_bare": _over(_peak(runs_of, TRAINED), _peak(runs_of, OURS)),
        "p50_trained_vs_bare": _over(_at(runs_of, TRAINED, 1, "p50_ms"), _at(runs_of, OURS, 1, "p50_ms")),
        "p99_trained_vs_bare": _over(_at(runs_of, TRAINED, 32, "p99_ms"), _at(runs_of, OURS, 32, "p99_ms")),
        "encoder_int8_vs_fp32": encoders["encoder_int8_vs_fp32"] if encoders else None,
        "encoder_int8_cosine": encoders["encoder_int8_cosine"] if encoders else None,
    }


def summary(
    runs_of: Runs,
    workload: dict[str, Any],
    overlap: float | None,
    recall: dict[str, float],
    encoders: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "machine": machine(),
        "workload": {**workload, "recall_at_10": recall},
        "contenders": {name: [asdict(run) for run in runs] for name, runs in runs_of.items()},
        "ratios": ratios(runs_of, encoders),
        "overlap_at_10": overlap,
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    packages = ("ray", "fastapi", "uvicorn", "hnswlib", "faiss-cpu", "onnxruntime", "torch", "redis", "numpy")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def write(result: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")


def show(runs_of: Runs, result: dict[str, Any]) -> None:
    clients = sorted({run.clients for runs in runs_of.values() for run in runs})
    table = Table("contender", "", *(f"{n} clients" for n in clients))
    for name, runs in runs_of.items():
        by_clients = {run.clients: run for run in runs}
        for label, column in (("requests/s", "rps"), ("p50 ms", "p50_ms"), ("p99 ms", "p99_ms"), ("errors", "errors")):
            cells = [f"{getattr(by_clients[n], column):,.5g}" if n in by_clients else "" for n in clients]
            table.add_row(name if column == "rps" else "", label, *cells, end_section=column == "errors")
    console = Console(width=120)
    console.print(table)
    console.print("recall@10 against exact search:", result["workload"]["recall_at_10"])
    console.print("overlap@10, the smallest of any two:", result["overlap_at_10"])
    for name, value in result["ratios"].items():
        console.print(f"{name:>22} {'-' if value is None else value}")


def plot(runs_of: Runs, file: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    panels = {"rps": "requests/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms"}
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for name, runs in runs_of.items():
            axis.plot([run.clients for run in runs], [getattr(run, column) for run in runs], marker="o", label=name)
        axis.set(xlabel="connections", ylabel=label, xscale="log")
        axis.set_xticks(
            clients := sorted({run.clients for runs in runs_of.values() for run in runs}), map(str, clients)
        )
        axis.minorticks_off()
        if column != "rps":
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _peak(runs_of: Runs, name: str) -> float | None:
    return max((run.rps for run in runs_of.get(name, [])), default=None)


def _at(runs_of: Runs, name: str, clients: int, column: str) -> float | None:
    return next((getattr(run, column) for run in runs_of.get(name, []) if run.clients == clients), None)


def _over(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 3) if ours and theirs else None
