"""recsys evaluate: measures the recommendations that the platform serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    AllowUnknown,
    ConfigFile,
    Json,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_ties, say_tuned
from deployments.machine.serve_config import read_config
from recsys.data.movielens import fetch_ml100k
from recsys.jobs import evaluate as jobs
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import FileTallies, Joined

_SHOWN = ("ndcg@10", "hr@10", "hr@100", "recall@20", "mrr", "coverage", "novelty", "intra_list_distance", "cold_share")
_CONTROLLED = ("ndcg@10", "coverage", "novelty", "intra_list_distance", "cold_share")
"""Metrics that fit beside the names of controls in 80 columns. `--json` has all."""


def add_to(cli: typer.Typer) -> None:
    cli.command()(reads_files(evaluate))


def evaluate(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with items.csv and events.csv; none: MovieLens 100K.")
    ] = None,
    protocol: Annotated[
        Literal["leave-last-out", "temporal"], typer.Option(help="What is kept for the test.")
    ] = "leave-last-out",
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    seed: Annotated[int, typer.Option(help="Of sampling and training.")] = 7,
    baselines: Annotated[bool, typer.Option(help="Whether known methods are measured beside.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the comparison here.")] = None,
    allow_bad: AllowBad = None,
    allow_unknown: AllowUnknown = None,
    json: Json = False,
) -> None:
    """Train on a part, serve it in this process as the platform would, and judge it on the rest.

    Every event counts 1. All items that a user has not had are ranked. Touches neither the platform nor its versions.
    """
    console = out(quiet=json)
    serve_config = read_config(config)
    left_out, joined = LeftOut(console, allow_bad, "items", "events"), Joined(allow_unknown)
    tallies = FileTallies(left_out["items"], left_out["events"], joined)
    with left_out.reported(json=json), bars(console) as report:
        folder = data or fetch_ml100k(serve_config.platform.home() / "ml-100k", lambda _: None).items_file.parent
        results = jobs.evaluate(
            folder, serve_config, options, protocol, report, seed=seed, with_baselines=baselines, tallies=tallies
        )
    if plot is not None:
        _draw(results, plot)
    left_out.say()
    if joined.unknown:
        console.print(str(joined), style="yellow", markup=False, soft_wrap=True)
    if json:
        print_json({**results, **joined.as_json(), **left_out.as_json()})
    else:
        _show(results)
    left_out.end()


def _show(results: dict[str, Any]) -> None:
    console = Console()
    title = (
        f"{results['protocol']}: {results['cases']} cases of {results['users']} users, {results['items']} items, "
        f"{results['events']} events; trained in {results['train_s']} s"
    )
    rows = {"served": results["served"], **results.get("baselines", {})}
    table = Table("", *rows)
    for metric in _SHOWN:
        table.add_row(metric, *(f"{row[metric]:.4f}" for row in rows.values()))
        if metric == "ndcg@10":
            for side, name in enumerate(("95 % from", "to")):
                table.add_row(f"{name:>19}", *(f"{row['ndcg@10_ci'][side]:.3f}" for row in rows.values()), style="dim")
    console.print(title, table)
    controls = Table(Column("control", no_wrap=True), *(name.replace("_", " ") for name in _CONTROLLED))
    for name, row in results["controls"].items():
        controls.add_row(name.replace("at most", "≤"), *(f"{row[metric]:.4f}" for metric in _CONTROLLED))
    console.print(controls)
    short, cold = results["short_histories"], results["cold_items"]
    console.print(
        f"histories cut to {short['known']}: hit rate at 10 {short['served']['hr@10']:.4f}, "
        f"popularity {short['popularity']['hr@10']:.4f}"
    )
    if cold:
        console.print(
            f"{cold['items']} items without events: hit rate at 10 "
            + ", ".join(f"{value:.4f} at {name}" for name, value in cold["served"].items())
            + f"; chance {cold['random']:.4f}"
        )
    say_tuned(results["index"], console)
    console.print(f"data {results['data_sha256']}", soft_wrap=True)
    say_ties(results["tied_last"], console)


def _draw(results: dict[str, Any], path: Path) -> None:
    """NDCG@10 with its 95 % intervals."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow, and only a plot needs it

    rows = {"served": results["served"], **results.get("baselines", {})}
    values = [row["ndcg@10"] for row in rows.values()]
    errors = [
        [abs(v - row["ndcg@10_ci"][side]) for v, row in zip(values, rows.values(), strict=True)] for side in (0, 1)
    ]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(rows), values, xerr=errors, color=["tab:blue", *["tab:gray"] * (len(rows) - 1)], capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"NDCG@10, {results['protocol']}, 95 % interval")
    figure.savefig(path, dpi=150)
