"""recsys export."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, DryRun, Json, out, print_json, typed
from deployments.cli.progress import bars
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_config
from recsys.jobs import export as jobs
from recsys.versions.store import VersionStore


def add_to(cli: typer.Typer) -> None:
    cli.command()(export)


def export(
    destination: Annotated[
        str, typer.Argument(help="An empty folder, or a URL that fsspec knows, such as s3://bucket/folder.")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write items with their vectors, users and events as Parquet, all of one moment.

    Users who were erased are not in it, and neither are deleted items. `recsys build` and `recsys import events` read
    it again, and so do Spark and pandas.
    """
    serve_config, console = read_config(config), out(quiet=json)
    if dry_run:
        current = VersionStore.of(serve_config.platform).current()
        if json:
            print_json({"dry_run": True, "version": current, "destination": destination})
        else:
            console.print(
                f"would write items of {current or 'no version'}, users and events to {destination}. "
                "Nothing was changed.",
                soft_wrap=True,
            )
        return
    with Runtime.of(serve_config).redis_if_used(serve_config) as url, bars(console) as report:
        done = asyncio.run(jobs.export(serve_config.platform, url, destination, report))
    if json:
        counts = {"items": done.items, "users": done.users, "events": done.events}
        print_json({"at": done.at.isoformat(timespec="milliseconds"), "version": done.version, **counts})
        return
    console.print(
        f"{done.items} items, {done.users} users and {done.events} events as of "
        f"{done.at.isoformat(timespec='milliseconds')} in {destination}",
        markup=False,
        soft_wrap=True,
    )
    if "://" not in destination:
        step = typed(config, "build", f"{destination.rstrip('/')}/items")
        console.print(f"build a version of it with: {step}", markup=False, soft_wrap=True)
