"""recsys import: sends items and events from files to a running platform."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from deployments.cli.client import Client, request_of
from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    AllowUnknown,
    ConfigFile,
    DryRun,
    Files,
    Json,
    out,
    print_json,
    typed,
)
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.sending import Sending
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import Joined
from recsys.reading.readers import Batch, read_events, read_items

_ROWS = 5000
"""Rows of events that are read at a time."""


def add_to(cli: typer.Typer) -> None:
    group = typer.Typer(help="Send items or events from files to the running platform.", no_args_is_help=True)
    group.command("items")(reads_files(import_items))
    group.command("events")(reads_files(import_events))
    cli.add_typer(group, name="import")


def import_items(
    files: Files,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    allow_bad: AllowBad = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Insert or replace items; they are found within a second of being sent. Bad rows are reported, the rest goes in.

    Fields: item_id, title, text, created_at, and the declared attributes. See: recsys inspect FILES
    """
    serve_config, console = read_config(config), out(quiet=json)
    batches = read_items(files, serve_config.platform.attributes, serve_config.serving.limits, options, 200)
    sending = Sending("items", LeftOut(console, allow_bad, "items"))
    _import(batches, config, serve_config, sending, console, dry_run=dry_run, json=json)


def import_events(
    files: Files,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    event_type: Annotated[str | None, typer.Option("--type", help="Type of events whose file names none.")] = None,
    allow_bad: AllowBad = None,
    allow_unknown: AllowUnknown = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Add interactions to users' histories. A second import of the same file changes nothing.

    Fields: user_id, item_id, timestamp, and optionally event_id, type, value, request_id. See: recsys inspect FILES
    Rows that say the same count once.
    """
    serve_config, console = read_config(config), out(quiet=json)
    settings = serve_config.serving
    batches = read_events(files, settings.event_types, settings.limits, options, _ROWS, default_type=event_type)
    sending = Sending("events", LeftOut(console, allow_bad, "events"), Joined(allow_unknown))
    _import(batches, config, serve_config, sending, console, dry_run=dry_run, json=json)


def _import(
    batches: Iterable[Batch[Any]],
    file: Path,
    config: ServeConfig,
    sending: Sending,
    console: Console,
    *,
    dry_run: bool,
    json: bool,
) -> None:
    tls = config.certificate
    with (
        sending.left_out.reported(json=json),
        Client(config.api_url, tls[0] if tls else None) as client,
        bars(console) as report,
    ):
        if dry_run:
            sending.look(batches, client, report)
        else:
            sending.send(batches, client, report)
    sending.left_out.say()
    if json:
        print_json({"dry_run": dry_run, **sending.as_json()})
    else:
        console.print(sending.planned() if dry_run else sending.summary())
        if sending.joined is not None and sending.joined.unknown:
            console.print(str(sending.joined), style="yellow", markup=False, soft_wrap=True)
        if sending.somebody is not None:
            path = f"/v1/users/{quote(sending.somebody, safe='')}/recommendations"
            console.print(f"what one of them gets: {request_of(config, path)}", markup=False, soft_wrap=True)
            console.print(
                f"learn from all histories with: {typed(file, 'train', '--promote')}", markup=False, soft_wrap=True
            )
    sending.left_out.end()
