"""recsys import: items and events from files into a running platform."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from deployments.cli.bad_rows import BadRows
from deployments.cli.client import Client
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Files, Json, out, print_json
from deployments.cli.progress import BYTES, bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.data.dialect import ReadOptions
from recsys.data.readers import Batch, read_events, read_items
from recsys.data.records import EventIn, ItemIn
from recsys.encoders.catalogue import Progress

R = TypeVar("R", ItemIn, EventIn)


def add_to(cli: typer.Typer) -> None:
    group = typer.Typer(help="Send items or events from files to the running platform.", no_args_is_help=True)
    group.command("items")(reads_files(import_items))
    group.command("events")(reads_files(import_events))
    cli.add_typer(group, name="import")


def import_items(
    files: Files,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    json: Json = False,
) -> None:
    """Insert or replace items; they are found within a second of being sent. Bad rows are reported, the rest goes in.

    Fields: item_id, title, text, created_at, and the declared attributes. See: recsys inspect FILES
    """
    known = read_config(config)
    batches = read_items(files, known.platform.attributes, known.serving.limits, options, 200)
    _send(batches, known, "items", json=json)


def import_events(
    files: Files,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    event_type: Annotated[str | None, typer.Option("--type", help="Type of events whose file names none.")] = None,
    json: Json = False,
) -> None:
    """Add interactions to users' histories. A second import of the same file changes nothing.

    Fields: user_id, item_id, timestamp, and optionally event_id, type, value, request_id. See: recsys inspect FILES
    """
    known = read_config(config)
    settings = known.serving
    batches = read_events(files, settings.event_types, settings.limits, options, 1000, default_type=event_type)
    _send(batches, known, "events", json=json)


def _send(batches: Iterable[Batch[Any]], config: ServeConfig, what: str, *, json: bool) -> None:
    console = out(quiet=json)
    tls = config.certificate
    with Client(config.api_url, tls[0] if tls else None) as client, bars(console) as report:
        totals = send(batches, client, what, report, console)
    if json:
        print_json(totals)
    else:
        console.print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in totals.items()))


def send(
    batches: Iterable[Batch[Any]], client: Client, what: str, report: Progress, console: Console
) -> dict[str, int]:
    """Post every batch; what came of the rows. `what` is items or events."""
    bad_rows = BadRows(console)
    totals = {"sent": 0, "bad_rows": 0} | ({"duplicates": 0, "too_old": 0} if what == "events" else {})
    for batch in batches:
        bad_rows(batch)
        totals["bad_rows"] += len(batch.bad_rows)
        if batch.records:
            answer = client.call(
                "POST", f"/v1/{what}", {what: [r.model_dump(exclude_none=True) for r in batch.records]}
            )
            totals["sent"] += len(batch.records) - answer["refused_count"]
            totals["bad_rows"] += answer["refused_count"]
            for known in totals.keys() & {"duplicates", "too_old"}:
                totals[known] += answer.get(known, 0)
        report(f"{BYTES} {what}", batch.bytes_read, batch.bytes_total)
    return totals
