"""recsys train, evaluate."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.options import DEFAULT_CONFIG, Config, Json, Mapping, mapping_of, out, print_json
from deployments.cli.progress import bars
from deployments.cli.versions import build_of, store_of
from deployments.serve_config import platform_of, serve_config, serving_of
from recsys.building import Progress
from recsys.connection import connect
from recsys.datasets import fetch_ml100k
from recsys.datatypes import Interaction
from recsys.errors import BadInput, VersionError
from recsys.evaluating import PROTOCOLS, Evaluation
from recsys.importing import read_events
from recsys.interaction_files import Read, items_of, read_folder, weighted
from recsys.snapshot import read_items
from recsys.training.train import Trainer
from recsys.users import UserStore

_SHOWN = ("ndcg@10", "hr@10", "hr@100", "recall@20", "mrr", "coverage", "novelty", "intra_list_distance", "cold_share")


def add_to(cli: typer.Typer) -> None:
    for command in (train, evaluate):
        cli.command()(command)


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
        Literal["leave-last-out", "temporal"], typer.Option(help="How validation is split off.")
    ] = "leave-last-out",
    seed: Annotated[int, typer.Option(help="Two runs of one seed give one model.")] = 7,
    promote: Annotated[bool, typer.Option("--promote", help="Serve the new version as soon as it is built.")] = False,
    json: Json = False,
) -> None:
    """Learn from events and build a version with what was learned. Nothing is served before `recsys promote`.

    Events count as their types' weights in the config file say, as in users' profiles.
    """
    console = out(quiet=json)
    known = serve_config(config)
    platform, settings, store = platform_of(known), serving_of(known), store_of(config)
    with bars(console) as report:
        if items:
            catalogue, _ = items_of(items, platform.attributes, report)
        else:
            catalogue = _served_items(config)
        ids = [item.item_id for item in catalogue]
        if events:
            batches = read_events(
                events, settings.event_types, settings.limits, mapping_of(mapping), 5000, default_type=event_type
            )
            rows: list[Interaction] = []
            for batch in batches:
                rows += [Interaction(**record.model_dump()) for record in batch.records]
                report("events", batch.bytes_read, batch.bytes_total)
        else:
            rows = asyncio.run(_histories(platform.redis(), settings.history, report))
        data = weighted(rows, settings.event_types, ids)
        if not len(data):
            raise BadInput("there is no event with a weight to learn from; see event_types in the config file")
        build = build_of(config, report)
        texts = build.encode(catalogue, report)
        trained = Trainer(build, settings, seed, PROTOCOLS[protocol][1]).train(catalogue, texts, data, report)
        manifest = build.publish(catalogue, report, trained, texts)
    if promote:
        store.promote(manifest.version)
    if json:
        print_json({"version": manifest.version, "promoted": promote, "card": trained.card.model_dump()})
        return
    found = ", ".join(f"{name} {value:.4f}" for name, value in trained.card.validation.items())
    console.print(
        f"version {manifest.version}: {manifest.model}, {trained.card.events} events of {trained.card.users} users in "
        f"{trained.card.seconds} s; NDCG@10 on validation: {found}"
    )
    console.print("serving it" if promote else f"serve it with: recsys promote {manifest.version}")


def evaluate(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with items.csv and events.csv; none: MovieLens 100K.")
    ] = None,
    protocol: Annotated[
        Literal["leave-last-out", "temporal"], typer.Option(help="What is kept for the test.")
    ] = "leave-last-out",
    config: Config = DEFAULT_CONFIG,
    seed: Annotated[int, typer.Option(help="Of sampling and training.")] = 7,
    baselines: Annotated[bool, typer.Option(help="Whether known methods are measured beside.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the comparison here.")] = None,
    json: Json = False,
) -> None:
    """Train on a part, serve it in this process as the platform would, and judge what it recommends on the rest.

    Every event counts 1. All items that a user has not had are ranked. Touches neither the platform nor its versions.
    """
    console = out(quiet=json)
    known = serve_config(config)
    platform = platform_of(known)
    with bars(console) as report:
        folder = data or fetch_ml100k(platform.home() / "ml-100k", lambda _: None).items_file.parent
        read = read_folder(folder, platform.attributes, report)
        build = build_of(config, report)
        start = time.perf_counter()
        texts = build.encode(read.items, report)
        encode_s = round(time.perf_counter() - start, 1)
        judged = Evaluation(protocol, read.items, texts, read.data, build, serving_of(known), seed)
        found = judged.run(report, with_baselines=baselines)
    found = {**found, "encode_s": encode_s, "bad_rows": len(read.bad_rows), "seed": seed}
    if plot is not None:
        _draw(found, plot)
    if json:
        print_json(found)
    else:
        _show(found, read)


def _served_items(config: Path) -> list[Any]:
    store = store_of(config)
    current = store.current()
    if current is None:
        raise VersionError("no version is promoted, so there are no items to learn for; name item files with --items")
    shards = range(len(store.manifest(current).shards))
    return [item for n in shards for item in read_items(store.folder(current) / f"shard-{n}")]


async def _histories(url: str, kept: int, report: Progress) -> list[Interaction]:
    redis = connect(url)
    try:
        users = UserStore(redis, ttl_s=60, history=kept)
        rows: list[Interaction] = []
        async for done, histories in users.everyone():
            rows += [event for history in histories for event in history]
            report("events", done, done)
        return rows
    finally:
        await redis.aclose()


def _show(found: dict[str, Any], read: Read) -> None:
    console = Console()
    title = (
        f"{found['protocol']}: {found['cases']} cases of {found['users']} users, {found['items']} items, "
        f"{found['events']} events; trained in {found['train_s']} s"
    )
    table = Table("", *_SHOWN, title=title)
    for name, row in {"served": found["served"], **found.get("baselines", {})}.items():
        low, high = row["ndcg@10_ci"]
        table.add_row(name, f"{row['ndcg@10']:.4f} [{low:.3f}, {high:.3f}]", *(f"{row[m]:.4f}" for m in _SHOWN[1:]))
    console.print(table)
    controls = Table("control", *next(iter(found["controls"].values())))
    for name, row in found["controls"].items():
        controls.add_row(name, *(f"{value:.4f}" for value in row.values()))
    console.print(controls)
    short, cold = found["short_histories"], found["cold_items"]
    console.print(
        f"histories cut to {short['known']}: hit rate at 10 {short['served']['hr@10']:.4f}, "
        f"popularity {short['popularity']['hr@10']:.4f}"
    )
    if cold:
        console.print(
            f"{cold['items']} items without events: hit rate at 10 by share of exploration "
            + ", ".join(f"{name} {value:.4f}" for name, value in cold["served"].items())
            + f"; chance {cold['random']:.4f}"
        )
    if read.bad_rows:
        console.print(f"{len(read.bad_rows)} bad rows left out, the first: {read.bad_rows[0]}", markup=False)


def _draw(found: dict[str, Any], path: Path) -> None:
    """NDCG@10 with its 95 % intervals."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow, and only a plot needs it

    rows = {"served": found["served"], **found.get("baselines", {})}
    values = [row["ndcg@10"] for row in rows.values()]
    errors = [
        [abs(v - row["ndcg@10_ci"][side]) for v, row in zip(values, rows.values(), strict=True)] for side in (0, 1)
    ]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(rows), values, xerr=errors, color=["tab:blue", *["tab:gray"] * (len(rows) - 1)], capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"NDCG@10, {found['protocol']}, 95 % interval")
    figure.savefig(path, dpi=150)
