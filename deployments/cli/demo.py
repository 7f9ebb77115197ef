"""recsys demo: MovieLens 100K, from the download to a recommendation that reflects the last event."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.client import Client
from deployments.cli.left_out import LeftOut
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, DryRun, Json, out, print_json, typed
from deployments.cli.platform import tell_urls, urls
from deployments.cli.progress import bars, phases
from deployments.cli.promoting import running_redis
from deployments.cli.sending import Sending
from deployments.cli.starting import foreseen, start
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_for_serve
from recsys.data.movielens import Ml100k, fetch_ml100k, fetched_ml100k
from recsys.datatypes import Interaction
from recsys.errors import RuntimeFailure
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import Joined, Tally
from recsys.reading.readers import read_events
from recsys.versions.fitting import served_version
from recsys.versions.store import VersionStore

USER = "196"
_LOOKED_AT = 1000
"""Items of the served version that are compared with the demo's."""
_EVENTS = 5000
"""Rows of events that are read at a time."""
_LAST_USERS = 40
"""Users of the last calls that send events: a user has some hundred events, and three calls have 3,000."""


def add_to(cli: typer.Typer) -> None:
    cli.command()(demo)


def demo(config: ConfigFile = DEFAULT_CONFIG, dry_run: DryRun = False, json: Json = False) -> None:
    """MovieLens 100K: fetch, build, start everything, show what one event changes. Stays up until `recsys down`."""
    serve_config, console = read_for_serve(config), out(quiet=json)
    _refuse_other_catalogue(serve_config, config)
    if Runtime.of(serve_config).status().running:
        raise RuntimeFailure("a platform runs here already; stop it first with: recsys down (or: make down)")
    if dry_run:
        _show_planned(serve_config, console, json=json)
        return
    seconds: dict[str, float] = {}
    with phases(console) as say:
        say("MovieLens 100K")
        data = fetch_ml100k(_folder(serve_config), say)
        say.end()
    seconds["fetch"] = round(sum(say.seconds.values()), 2)
    seconds["build"] = _timed(lambda: _build(serve_config, data, console))
    instance, phase_seconds = start(serve_config, console)
    seconds |= {f"start: {phase}": spent for phase, spent in phase_seconds.items()}
    with Client(instance.api_url, instance.certificate) as client:
        seconds["events"] = _timed(lambda: _send_events(serve_config, data, client, console))
        shown = _show(client, console)
    why = f"{instance.api_url}/console#/explain?user={USER}&item={shown.pop('first')}"
    if json:
        print_json({**urls(instance), "why": why, "seconds": seconds, **shown})
        return
    console.print("\nIt stays up until: make down (or: recsys down)")
    tell_urls(instance, console)
    console.print(f"  {'why':<10} {why}  (why the first one above is there)", soft_wrap=True)
    start_s = round(sum(phase_seconds.values()), 2)  # of phases that stand above, each with its own
    fetch_s, build_s, events_s = (seconds[step] for step in ("fetch", "build", "events"))
    console.print(f"  seconds    fetch {fetch_s}, build {build_s}, start {start_s}, events {events_s}")


def _refuse_other_catalogue(config: ServeConfig, file: Path) -> None:
    """Raise RuntimeFailure where the promoted version is of other items than the demo's, whose place it would take."""
    store = VersionStore.of(config.platform)
    current = store.current()
    if current is None or not store.manifest(current).items:
        return
    films = _titles_by_id(fetched_ml100k(_folder(config)))
    rows = pq.ParquetFile(store.file(current, "shard-0/items.parquet")).iter_batches(
        _LOOKED_AT, columns=["item_id", "title"]
    )
    first = next(rows, None)
    served = [] if first is None else first.to_pylist()
    other = [row["item_id"] for row in served if films.get(row["item_id"]) != row["title"]]
    if len(other) * 2 > len(served):
        raise RuntimeFailure(
            f"version {current}, which is served from {store.root}, is a catalogue of your own, with items such as "
            f"{other[0]!r}, and the demo would take its place. Serve yours with: {typed(file, 'up')}; or run the demo "
            "beside it, with --config of a copy of the file that has another data_dir, other args.ports and another "
            "http_options.port"
        )


def _titles_by_id(data: Ml100k | None) -> dict[str, str]:
    if data is None:
        return {}
    return {film["item_id"]: film["title"] for film in map(orjson.loads, data.items_file.read_bytes().splitlines())}


def _timed(step: Any) -> float:
    start_s = time.perf_counter()
    step()
    return round(time.perf_counter() - start_s, 2)


def _show_planned(config: ServeConfig, console: Console, *, json: bool) -> None:
    folder = _folder(config)
    data = fetched_ml100k(folder)
    served = None if data is None else served_version(config, at_least=data.items)
    instance = foreseen(config, console)
    if json:
        version = None if served is None else served.version
        print_json({"dry_run": True, **urls(instance), "fetch": data is None, "version": version})
        return
    steps = [
        *([f"fetch MovieLens 100K into {folder}"] if data is None else []),
        "build a version of its films" if served is None else f"serve version {served.version} of its films",
        f"start the platform at {instance.api_url}",
        "send its ratings",
    ]
    console.print(f"would {', '.join(steps[:-1])} and {steps[-1]}. Nothing was changed.", soft_wrap=True)


def _folder(config: ServeConfig) -> Path:
    return config.platform.home() / "ml-100k"


def _build(config: ServeConfig, data: Ml100k, console: Console) -> None:
    """Build and promote a version of the films, unless the served one has them."""
    served = served_version(config, at_least=data.items)
    if served is not None:
        console.print(f"version {served.version} is there: {served.items} items, recall@10 {served.recall_at_10:.4f}")
        return
    from recsys.jobs.build_files import build_files  # noqa: PLC0415 - takes a second, and the second demo builds nothing

    with bars(console) as report:
        running = running_redis(config)
        manifest = build_files([data.items_file], config, ReadOptions(), report, Tally(), redis_url=running)
    VersionStore.of(config.platform).promote(manifest.version)
    console.print(f"version {manifest.version}: {manifest.items} items, recall@10 {manifest.recall_at_10:.4f}")


def _send_events(config: ServeConfig, data: Ml100k, client: Client, console: Console) -> None:
    settings = config.serving
    sending = Sending("events", LeftOut(console, None, "events"), Joined())
    batches = list(read_events([data.events_file], settings.event_types, settings.limits, batch=_EVENTS))
    events = [event for batch in batches for event in batch.records]
    if are_there(events, settings.history, client):
        console.print(
            f"the platform has the events of the last {_LAST_USERS} users, which are sent last: nothing is sent again"
        )
        return
    with bars(console) as report:
        sending.send(batches, client, report)
    console.print(sending.summary())


def are_there(events: Sequence[Interaction], history: int, client: Client) -> bool:
    """Return whether the platform has the events of the users whose turn to be sent is last.

    If it does, an earlier demo sent all of them, since no call is begun before the third one before it was answered.
    Events that were deleted since are not looked for.
    """
    counts = Counter(event.user_id for event in events)
    last = list(counts)[-_LAST_USERS:]
    return all(client.call("GET", f"/v1/users/{user}")["events"] >= min(counts[user], history) for user in last)


def _show(client: Client, console: Console) -> dict[str, Any]:
    """Return one user's recommendations before and after one event, and print them."""
    before = client.recommendations(USER, 10)["items"]
    query = {"user_id": USER, "k": 1, "filter": {"must": [{"key": "genres", "eq": "Horror"}]}}
    liked = client.call("POST", "/v1/recommendations", query)["items"][0]
    event = {"event_id": f"demo-{uuid.uuid4().hex}", "user_id": USER, "item_id": liked["item_id"], "type": "like"}
    client.call("POST", "/v1/events", {"events": [event]})
    after = client.recommendations(USER, 10)["items"]
    table = Table("", f"user {USER} before", f"right after liking {liked['title']}", title="Recommendations")
    earlier = {item["item_id"] for item in before}
    for rank, (old, new) in enumerate(zip(before, after, strict=True), 1):
        table.add_row(str(rank), old["title"], new["title"] + ("" if new["item_id"] in earlier else "  [green]new[/]"))
    console.print(table)
    shown = {"user_id": USER, "liked": liked["title"], "before": _titles(before), "after": _titles(after)}
    return {**shown, "first": after[0]["item_id"]}


def _titles(items: list[dict[str, Any]]) -> list[str]:
    return [item["title"] for item in items]
