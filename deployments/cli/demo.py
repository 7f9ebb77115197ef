"""recsys demo: MovieLens 100K, from nothing to a recommendation that knows the last click."""

from __future__ import annotations

import time
import uuid
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.client import Client
from deployments.cli.left_out import LeftOut
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.cli.platform import tell_urls, urls
from deployments.cli.progress import bars, phases
from deployments.cli.sending import Sending
from deployments.cli.starting import start
from deployments.cli.versions import running_redis
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_for_serve
from recsys.data.movielens import Ml100k, fetch_ml100k
from recsys.encoders.base import fingerprint
from recsys.errors import RuntimeFailure
from recsys.jobs.build_files import build_files
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import Joined, Tally
from recsys.reading.readers import read_events
from recsys.versions.store import VersionStore

USER = "196"


def add_to(cli: typer.Typer) -> None:
    cli.command()(demo)


def demo(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """MovieLens 100K: fetch, build, start everything, show what one event changes. Stays up until `recsys down`."""
    known, console = read_for_serve(config), out(quiet=json)
    if Runtime.of(known).status().running:
        raise RuntimeFailure("a platform runs here already; stop it first with: recsys down (or: make down)")
    seconds: dict[str, float] = {}
    with phases(console) as say:
        say("MovieLens 100K")
        data = fetch_ml100k(known.platform.home() / "ml-100k", say)
        say.end()
    seconds["fetch"] = round(sum(say.seconds.values()), 2)
    seconds["build"] = _timed(lambda: _build(known, data, console))
    instance, phase_seconds = start(known, console)
    seconds |= {f"start: {phase}": spent for phase, spent in phase_seconds.items()}
    with Client(instance.api_url, instance.certificate) as client:
        seconds["events"] = _timed(lambda: _send_events(known, data, client, console))
        shown = _show(client, console)
    if json:
        print_json({**urls(instance), "seconds": seconds, **shown})
        return
    console.print("\nIt stays up until: make down (or: recsys down)")
    tell_urls(instance, console)
    console.print("  seconds    " + ", ".join(f"{what} {spent}" for what, spent in seconds.items()))


def _timed(step: Any) -> float:
    start_s = time.perf_counter()
    step()
    return round(time.perf_counter() - start_s, 2)


def _build(config: ServeConfig, data: Ml100k, console: Console) -> None:
    """A version of the films, unless the served one is just that."""
    store, platform = VersionStore.of(config.platform), config.platform
    current = store.current()
    if current is not None:
        known = store.manifest(current)
        same_encoder = known.fingerprint == fingerprint(platform.encoder)
        if same_encoder and known.items >= data.items and len(known.shards) == platform.shards:
            console.print(f"version {current} is there: {known.items} items, recall@10 {known.recall_at_10:.4f}")
            return
    with bars(console) as report:
        running = running_redis(config)
        manifest = build_files([data.items_file], config, ReadOptions(), report, Tally(), redis_url=running)
    store.promote(manifest.version)
    console.print(f"version {manifest.version}: {manifest.items} items, recall@10 {manifest.recall_at_10:.4f}")


def _send_events(config: ServeConfig, data: Ml100k, client: Client, console: Console) -> None:
    settings = config.serving
    sending = Sending("events", LeftOut(console, None, "events"), Joined())
    with bars(console) as report:
        sending.send(read_events([data.events_file], settings.event_types, settings.limits), client, report)
    console.print(sending.summary())


def _show(client: Client, console: Console) -> dict[str, Any]:
    """One user's answers before and after one event."""
    before = client.recommendations(USER, 10)["items"]
    wanted = {"user_id": USER, "k": 1, "filter": {"must": [{"key": "genres", "eq": "Horror"}]}}
    liked = client.call("POST", "/v1/recommendations", wanted)["items"][0]
    event = {"event_id": f"demo-{uuid.uuid4().hex}", "user_id": USER, "item_id": liked["item_id"], "type": "like"}
    client.call("POST", "/v1/events", {"events": [event]})
    after = client.recommendations(USER, 10)["items"]
    table = Table("", f"user {USER} before", f"right after liking {liked['title']}", title="Recommendations")
    known = {item["item_id"] for item in before}
    for rank, (old, new) in enumerate(zip(before, after, strict=True), 1):
        table.add_row(str(rank), old["title"], new["title"] + ("" if new["item_id"] in known else "  [green]new[/]"))
    console.print(table)
    return {"user_id": USER, "liked": liked["title"], "before": _titles(before), "after": _titles(after)}


def _titles(items: list[dict[str, Any]]) -> list[str]:
    return [item["title"] for item in items]
