"""recsys train: events to a version with a model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from deployments.cli.bad_rows import BadRows
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_ties, say_tuned
from deployments.cli.versions import promoted
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.data.dialect import ReadOptions
from recsys.errors import RuntimeFailure
from recsys.evaluation.splits import Split, upcoming
from recsys.jobs.evaluate import PROTOCOLS
from recsys.jobs.retrain import retrain
from recsys.jobs.train import Lessons, Taught
from recsys.jobs.train import train as learn
from recsys.versions.manifest import tuned_of


def add_to(cli: typer.Typer) -> None:
    cli.command()(reads_files(train))


def train(
    events: Annotated[
        list[Path] | None, typer.Argument(help="Event files; none: all histories of the platform.")
    ] = None,
    items: Annotated[
        list[Path] | None,
        typer.Option("--items", help="Item files; none: the items of the served version. Repeatable."),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    event_type: Annotated[str | None, typer.Option("--type", help="Type of events whose file names none.")] = None,
    protocol: Annotated[
        Literal["leave-last-out", "temporal"] | None,
        typer.Option(
            help="How validation is split off; none: one moment for all, or everybody's last where few come back."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Two runs of one seed give one model.")] = 7,
    promote: Annotated[bool, typer.Option("--promote", help="Serve the new version as soon as it is built.")] = False,
    if_better: Annotated[
        bool,
        typer.Option("--if-better", help="Compare with the served version on the newest events; serve what is better."),
    ] = False,
    trees: Annotated[bool, typer.Option(help="Whether trees may be learned; without, the blend decides.")] = True,
    json: Json = False,
) -> None:
    """Learn from events and build a version with what was learned. Nothing is served before `recsys promote`.

    Events count as their types' weights in the config file say, as in users' profiles. With --if-better it does what
    `retrain` in the config file has done unattended: learn from the platform's histories, compare with the served
    version on events that neither knows, and serve the new one unless it is worse by more than `margin`.
    """
    console = out(quiet=json)
    if if_better:
        if events or items or promote or not trees:
            raise typer.BadParameter("--if-better learns from the platform's histories, and promotes by itself")
        _retrained(read_config(config), seed, _split(protocol), console, json=json)
        return
    lessons = Lessons(events or (), items or (), options, event_type)
    known, bad_rows = read_config(config), BadRows(console)
    with bars(console) as report:
        url = None if events else _histories(known)
        taught = learn(
            lessons, known, report, bad_rows, redis_url=url, seed=seed, split=_split(protocol), trees=trees
        )  # fmt: skip
    if promote:
        promoted(known, taught.manifest.version, instead_of=taught.base)
    if json:
        print_json({**_summary(taught), "promoted": promote, "bad_rows": bad_rows.count})
    else:
        _show(taught, bad_rows.count, console)
        console.print("serving it" if promote else f"serve it with: recsys promote {taught.manifest.version}")


def _summary(taught: Taught) -> dict[str, object]:
    manifest = taught.manifest
    learned = {"model": manifest.model, "card": taught.card.model_dump(), "tied_last": taught.tied_last}
    return {"version": manifest.version, **learned, "tuned": tuned_of(manifest)}


def _show(taught: Taught, bad_rows: int, console: Console) -> None:
    manifest, card = taught.manifest, taught.card
    say_ties(taught.tied_last, console)
    if bad_rows:
        console.print(f"{bad_rows} bad rows left out")
    validation = ", ".join(f"{name} {value:.4f}" for name, value in card.validation.items())
    console.print(
        f"version {manifest.version}: {manifest.model}, {card.events} events of {card.users} users in "
        f"{card.seconds} s; NDCG@10 on validation: {validation}"
    )
    say_tuned(tuned_of(manifest), console)


def _split(protocol: str | None) -> Split:
    return upcoming if protocol is None else PROTOCOLS[protocol][1]


def _retrained(config: ServeConfig, seed: int, split: Split, console: Console, *, json: bool) -> None:
    with bars(console) as report, Runtime.of(config).redis(config) as url:
        retrained = asyncio.run(retrain(config, url, report, seed=seed, split=split))
    comparison = retrained.comparison
    if json:
        version = None if retrained.manifest is None else retrained.manifest.version
        print_json({"version": version, "result": retrained.result, "comparison": comparison.model_dump()})
    else:
        interval = f"{comparison.low:+.4f} to {comparison.high:+.4f}"
        console.print(f"{retrained.result}; 95 % interval of the difference {interval}", markup=False)


def _histories(config: ServeConfig) -> str:
    """The Redis of the running platform, or the configured one."""
    url = Runtime.of(config).running_redis(config)
    if url is None:
        raise RuntimeFailure("no platform runs here, so there are no histories; start it, or name event files")
    return url
