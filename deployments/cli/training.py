"""recsys train: builds a version with a model learned from events."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from deployments.batch.index_client import indexer_at
from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    AllowShrink,
    AllowUnknown,
    ConfigFile,
    DryRun,
    IndexedAt,
    Json,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.promoting import Wait, next_step, promoted, wait_until_served
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_ties, say_tuned
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.errors import RuntimeFailure
from recsys.evaluation.splits import Split, upcoming
from recsys.jobs.evaluate import PROTOCOLS
from recsys.jobs.retrain import foreseen, retrain
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
    address: IndexedAt = None,
    allow_bad: AllowBad = None,
    allow_unknown: AllowUnknown = None,
    allow_shrink: AllowShrink = False,
    wait: Wait = True,
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
        if events or items or promote or not trees or address:
            raise typer.BadParameter(
                "--if-better learns from the platform's histories and promotes by itself: it takes no files, and none "
                "of --promote, --no-trees and --address"
            )
        if dry_run:
            _show_exam(read_config(config), console, json=json)
        else:
            _retrained(config, seed, _split(protocol), console, wait=wait, json=json)
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
        taught = None
        facts = {"tied_last": given.data.tied_last, **joined.as_json(), **left_out.as_json()}
        if not dry_run:
            indexer = indexer_at(serve_config.platform.home(), address)
            taught = learn(given, serve_config, report, indexer, seed=seed, split=_split(protocol), trees=trees)
    serving = False
    if taught is not None and promote:
        promoted(serve_config, taught.manifest.version, instead_of=given.base, allow_shrink=allow_shrink)
        serving = wait_until_served(serve_config, taught.manifest.version, console, wait=wait)
    _say_given(given, left_out, joined, console)
    if taught is None:
        _show_planned(given, facts, console, json=json)
    elif json:
        print_json({**_summary(taught), **facts, "promoted": promote, "serving": serving})
    else:
        _show(taught, console)
        step = next_step(config, taught.manifest.version, promote=promote, serving=serving, wait=wait)
        console.print(step, markup=False, soft_wrap=True)
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
        f"would learn from {len(data)} likes of {data.users} users, of {len(given.items)} items. Nothing was changed.",
        soft_wrap=True,
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
        f"{card.seconds} s; NDCG@10 on validation: {validation}",
        soft_wrap=True,
    )
    if (negatives := card.negatives) is not None:
        console.print(
            f"dislikes are {'' if negatives.used else 'not '}learned from: {negatives.reason} (with them NDCG@10 on "
            f"validation {negatives.gap:+.4f}, dislikes in a list of ten {negatives.shown:+.4f})",
            soft_wrap=True,
        )
    say_tuned(tuned_of(manifest), console)


def _split(protocol: str | None) -> Split:
    return upcoming if protocol is None else PROTOCOLS[protocol][1]


def _retrained(file: Path, seed: int, split: Split, console: Console, *, wait: bool, json: bool) -> None:
    config = read_config(file)
    with bars(console) as report, Runtime.of(config).redis(config) as url:
        retrained = asyncio.run(retrain(config, url, report, seed=seed, split=split))
    comparison, manifest = retrained.comparison, retrained.manifest
    version = None if manifest is None else manifest.version
    serving = version is not None and wait_until_served(config, version, console, wait=wait)
    if json:
        summary = {"version": version, "result": retrained.result, "comparison": comparison.model_dump()}
        print_json({**summary, "serving": serving})
        return
    interval = f"{comparison.low:+.4f} to {comparison.high:+.4f}"
    console.print(f"{retrained.result}; 95 % interval of the difference {interval}", markup=False, soft_wrap=True)
    if version is not None and not serving:
        console.print(next_step(file, version, promote=True, serving=False, wait=wait), markup=False, soft_wrap=True)


def _show_exam(config: ServeConfig, console: Console, *, json: bool) -> None:
    with bars(console) as report, Runtime.of(config).redis(config) as url:
        planned = asyncio.run(foreseen(config, url, report))
    if json:
        print_json({"dry_run": True, **asdict(planned)})
        return
    since = datetime.fromtimestamp(planned.since, UTC)
    console.print(
        f"would learn from {planned.events} likes of {planned.users} users, of {planned.items} items, and compare with "
        f"{planned.served} on {planned.cases} users' events since {since:%Y-%m-%d %H:%M:%S} UTC; what is not worse "
        "would be served. Nothing was changed.",
        soft_wrap=True,
    )


def _histories(config: ServeConfig) -> str:
    """Return the URL of the running platform's Redis, or of the configured one."""
    url = Runtime.of(config).running_redis(config)
    if url is None:
        raise RuntimeFailure("no platform runs here, so there are no histories; start it, or name event files")
    return url
