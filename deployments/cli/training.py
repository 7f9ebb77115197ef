"""recsys train: builds a version with a model learned from events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    AllowShrink,
    AllowUnknown,
    ConfigFile,
    DryRun,
    Json,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_ties, say_tuned
from deployments.cli.versions import promoted
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.errors import RuntimeFailure
from recsys.evaluation.splits import Split, upcoming
from recsys.jobs.evaluate import PROTOCOLS
from recsys.jobs.retrain import retrain
from recsys.jobs.train import Lessons, Ready, Taught, ready
from recsys.jobs.train import train as learn
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import FileTallies, Joined
from recsys.versions.manifest import tuned_of
from recsys.versions.promotion import refuse_shrunken
from recsys.versions.store import VersionStore


def add_to(cli: typer.Typer) -> None:
    cli.command()(reads_files(train))


def train(
    events: Annotated[
        list[Path] | None, typer.Argument(help="Event files; none: all histories of the platform.", readable=False)
    ] = None,
    items: Annotated[
        list[Path] | None,
        typer.Option("--items", help="Item files; none: the items of the served version. Repeatable.", readable=False),
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
    allow_bad: AllowBad = None,
    allow_unknown: AllowUnknown = None,
    allow_shrink: AllowShrink = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Learn from events and build a version with what was learned. Nothing is served before `recsys promote`.

    Events count as their types' weights in the config file say, as in users' profiles. With --if-better it does what
    `retrain` in the config file has done unattended: learn from the platform's histories, compare with the served
    version on events that neither knows, and serve the new one unless it is worse by more than `margin`.
    """
    console = out(quiet=json)
    if if_better:
        if events or items or promote or not trees or dry_run:
            raise typer.BadParameter(
                "--if-better learns from the platform's histories and promotes by itself: it takes no files, and "
                "neither --promote, --no-trees nor --dry-run"
            )
        _retrained(read_config(config), seed, _split(protocol), console, json=json)
        return
    lessons = Lessons(events or (), items or (), options, event_type)
    serve_config = read_config(config)
    left_out, joined = LeftOut(console, allow_bad, "items", "events"), Joined(allow_unknown)
    with left_out.reported(json=json), bars(console) as report:
        url = None if events else _histories(serve_config)
        tallies = FileTallies(left_out["items"], left_out["events"], joined)
        given = ready(lessons, serve_config, report, tallies, redis_url=url)
        if promote:
            store = VersionStore.of(serve_config.platform)
            refuse_shrunken(store, len(given.items), allow_shrink=allow_shrink)
        facts = {"tied_last": given.data.tied_last, **joined.as_json(), **left_out.as_json()}
        taught = None if dry_run else learn(given, serve_config, report, seed=seed, split=_split(protocol), trees=trees)
    if taught is not None and promote:
        promoted(serve_config, taught.manifest.version, instead_of=given.base, allow_shrink=allow_shrink)
    _say_given(given, left_out, joined, console)
    if taught is None:
        _show_planned(given, facts, console, json=json)
    elif json:
        print_json({**_summary(taught), **facts, "promoted": promote})
    else:
        _show(taught, console)
        console.print("serving it" if promote else f"serve it with: recsys promote {taught.manifest.version}")
    left_out.end()


def _say_given(given: Ready, left_out: LeftOut, joined: Joined, console: Console) -> None:
    """Print what was left out of the files, the unknown items, and a warning about ties."""
    left_out.say()
    if joined.unknown:
        console.print(str(joined), style="yellow", markup=False, soft_wrap=True)
    say_ties(given.data.tied_last, console)


def _show_planned(given: Ready, facts: dict[str, Any], console: Console, *, json: bool) -> None:
    data = given.data
    if json:
        counts = {"items": len(given.items), "users": data.users, "events": len(data), "data_sha256": data.sha256()}
        print_json({"dry_run": True, **counts, **facts})
        return
    console.print(
        f"would learn from {len(data)} likes of {data.users} users, of {len(given.items)} items. Nothing was changed."
    )


def _summary(taught: Taught) -> dict[str, object]:
    manifest = taught.manifest
    learned = {"model": manifest.model, "card": taught.card.model_dump()}
    return {"version": manifest.version, **learned, "tuned": tuned_of(manifest)}


def _show(taught: Taught, console: Console) -> None:
    manifest, card = taught.manifest, taught.card
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
    """Return the URL of the running platform's Redis, or of the configured one."""
    url = Runtime.of(config).running_redis(config)
    if url is None:
        raise RuntimeFailure("no platform runs here, so there are no histories; start it, or name event files")
    return url
