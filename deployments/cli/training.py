"""recsys train: events to a version with a model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from deployments.cli.options import DEFAULT_CONFIG, Config, Json, Mapping, mapping_of, out, print_json
from deployments.cli.progress import bars
from deployments.cli.tuning_report import say_ties, say_tuned
from deployments.cli.versions import build_of, promoted, store_of
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import own_config, platform_of, serving_of, tuning_of
from recsys.config import Serving
from recsys.data.dataset_folder import divided, items_of, weighted
from recsys.data.interactions import Interactions
from recsys.data.readers import read_events
from recsys.data.refusals import BadRow
from recsys.datatypes import Interaction, Item
from recsys.encoders.catalogue import Progress, encode_all
from recsys.errors import BadInput, RuntimeFailure, TooFewEvents, VersionError
from recsys.evaluation.splits import Split, upcoming
from recsys.jobs.evaluate import PROTOCOLS
from recsys.jobs.live_events import live_events
from recsys.jobs.retrain import retrain
from recsys.model.profiles import Taste
from recsys.shard.snapshot import read_items
from recsys.state.connection import connect
from recsys.state.tie_breaking import in_catalogue_order
from recsys.training.trainer import Trainer
from recsys.versions.build import known_texts
from recsys.versions.contents import file_content
from recsys.versions.prerequisites import check_room, check_tools
from recsys.versions.store import tuned_of

_BAD_SHOWN = 20


def add_to(cli: typer.Typer) -> None:
    cli.command()(train)


def train(
    events: Annotated[
        list[Path] | None, typer.Argument(help="Event files; none: all histories of the platform.")
    ] = None,
    items: Annotated[
        list[Path] | None,
        typer.Option("--items", help="Item files; none: the items of the served version. Repeatable."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    mapping: Mapping = [],
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
        _retrained(config, seed, _split(protocol), console, json=json)
        return
    known = own_config(config)
    platform, settings, store = platform_of(known), serving_of(known), store_of(config)
    columns = mapping_of(mapping)
    of_items, of_events = divided(columns, platform.attributes) if items else ({}, columns)
    base = None if items else store.current()
    with bars(console) as report:
        # What can be known at once is told before minutes of reading, encoding and learning.
        check_tools(platform, training=True)
        batches = read_events(
            events or [], settings.event_types, settings.limits, of_events, 5000, default_type=event_type
        )
        url = None if events else _redis(config)
        if items:
            catalogue, bad = items_of(items, platform.attributes, report, of_items)
        else:
            catalogue, bad = _served_items(config), []
        ids = [item.item_id for item in catalogue]
        if url is None:
            rows: list[Interaction] = []
            for batch in batches:
                rows += [Interaction(**record.model_dump()) for record in batch.records]
                bad += batch.bad_rows
                report("events", batch.bytes_read, batch.bytes_total)
            data = weighted(rows, settings.event_types, ids)
        else:
            rows, data = [], asyncio.run(_live_events(url, platform.redis_prefix, settings, ids, report))
        _check_events(data, rows, settings, bad)
        check_room(platform, store.root, len(catalogue), training=True)
        build = build_of(config, report)
        texts = encode_all(build.encoder, catalogue, report)
        trainer = Trainer(build, settings, seed, _split(protocol), trees)
        trained = trainer.train(catalogue, texts, data, report)
        with store.drafts.alone():
            if base is not None and store.current() != base:
                raise VersionError(f"{base}, whose items were trained on, is served no more; train again")
            content = file_content(store, catalogue, platform, build.encoder.fingerprint)
            content = replace(content, known=known_texts(catalogue, texts), histories=data)
            manifest = build.publish(content, report, trained)
    if promote:
        promoted(config, manifest.version, instead_of=base)
    if json:
        told = {"version": manifest.version, "model": manifest.model, "promoted": promote, "bad_rows": len(bad)}
        print_json(
            {**told, "tied_last": data.tied_last, "card": trained.card.model_dump(), "tuned": tuned_of(manifest)}
        )
        return
    _say_data(data, bad, console)
    found = ", ".join(f"{name} {value:.4f}" for name, value in trained.card.validation.items())
    console.print(
        f"version {manifest.version}: {manifest.model}, {trained.card.events} events of {trained.card.users} users in "
        f"{trained.card.seconds} s; NDCG@10 on validation: {found}"
    )
    say_tuned(tuned_of(manifest), console)
    console.print("serving it" if promote else f"serve it with: recsys promote {manifest.version}")


def _check_events(data: Interactions, rows: list[Interaction], settings: Serving, bad: list[BadRow]) -> None:
    """Raises BadInput where no event can be learned from, TooFewEvents where nothing goes with anything."""
    if not len(data):
        taste = Taste(settings.event_types, 1.0)
        liked = next((row for row in rows if taste.weight(row) > 0), None)
        if liked is not None:
            raise BadInput(
                f"none of the {len(rows)} events that can be read and count as likes names an item of the catalogue, "
                f"such as {liked.item_id!r}: are the item_id columns of one kind (--map events.item_id=…)?"
            )
        why = f"; {len(bad)} bad rows, the first: {bad[0]}" if bad else ""
        raise BadInput(f"there is no event with a weight to learn from; see event_types in the config file{why}")
    if data.lengths.max() < 2:
        raise TooFewEvents(
            f"nothing was trained: none of the {data.users} users has liked two items, so nothing goes with anything"
        )


def _split(protocol: str | None) -> Split:
    return upcoming if protocol is None else PROTOCOLS[protocol][1]


def _retrained(config: Path, seed: int, split: Split, console: Console, *, json: bool) -> None:
    known = own_config(config)
    platform = platform_of(known)
    with bars(console) as report, Runtime(platform.home()).redis(known) as url:
        work = retrain(platform, tuning_of(known, 0), serving_of(known), url, report, seed=seed, split=split)
        made = asyncio.run(work)
    if json:
        version = None if made.manifest is None else made.manifest.version
        print_json({"version": version, "result": made.result, "comparison": made.comparison.model_dump()})
    else:
        low, high = made.comparison.low, made.comparison.high
        console.print(f"{made.result}; 95 % interval of the difference {low:+.4f} to {high:+.4f}", markup=False)


def _served_items(config: Path) -> list[Item]:
    store = store_of(config)
    current = store.current()
    if current is None:
        raise VersionError("no version is promoted, so there are no items to learn for; name item files with --items")
    shards = range(len(store.manifest(current).shards))
    return in_catalogue_order(item for n in shards for item in read_items(store.folder(current) / f"shard-{n}"))


async def _live_events(url: str, prefix: str, settings: Serving, ids: list[str], report: Progress) -> Interactions:
    async with connect(url, prefix=prefix) as redis:
        return await live_events(redis, settings.history, settings.event_types, ids, settings.retrain.events, report)


def _redis(config: Path) -> str:
    """Of the running platform, or the configured one."""
    known = own_config(config)
    url = Runtime(platform_of(known).home()).running_redis(known)
    if url is None:
        raise RuntimeFailure("no platform runs here, so there are no histories; start it, or name event files")
    return url


def _say_data(data: Interactions, bad: list[BadRow], console: Console) -> None:
    """What the events do not tell: the rows that were left out, and where ties decide."""
    say_ties(data.tied_last, console)
    for row in bad[:_BAD_SHOWN]:
        console.print(str(row), style="yellow", markup=False)
    if bad:
        console.print(f"{len(bad)} bad rows left out")
