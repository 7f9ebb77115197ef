"""recsys partition: which shards the values of an attribute go to, so that all are about equally full."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from deployments.cli.left_out import LeftOut
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, OptionalFiles, out, print_json
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.machine.serve_config import read_config
from recsys.jobs.item_files import read_catalogue
from recsys.jobs.partition import Partition, proposed
from recsys.reading.dialect import ReadOptions
from recsys.versions.contents import served_items
from recsys.versions.store import VersionStore

_SHOWN = 12
"""Values that the table shows; the smaller ones are in the proposal."""


def add_to(cli: typer.Typer) -> None:
    cli.command()(reads_files(partition))


def partition(
    attribute: Annotated[str, typer.Argument(help="A declared keyword attribute that queries filter on.")],
    files: OptionalFiles = None,
    shards: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Default: as many as the config file has.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    json: Json = False,
) -> None:
    """Propose which shards hold which values of an attribute, from the served items or from item files.

    A value that most items have is spread over several shards, small ones share one, and a query whose filter names
    values asks their shards alone. Changes nothing: the proposal goes into args.routing of the config file.
    """
    serve_config, console = read_config(config), out(quiet=json)
    platform = serve_config.platform if shards is None else serve_config.platform.model_copy(update={"shards": shards})
    left_out = LeftOut(console, None, "items")
    if files:
        with left_out.reported(json=json), bars(console) as report:
            items = read_catalogue(files, serve_config, options, report, left_out["items"])
    else:
        items = served_items(VersionStore.of(serve_config.platform))
    partition = proposed(items, attribute, platform)
    routing = partition.routing.model_dump()
    if json:
        print_json(
            {"shards": platform.shards, "routing": routing, "before": partition.before, "after": partition.after}
        )
        return
    _show(partition, platform.shards, routing)


def _show(partition: Partition, shards: int, routing: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table("value", "items", "shards")
    for value, count in list(partition.counts.items())[:_SHOWN]:
        table.add_row(value or "(none)", f"{count:,}", ", ".join(map(str, partition.routing.placed[value])))
    console.print(table, markup=False)
    console.print(
        f"items by shard: {_numbers(partition.after)}; by the hash of the values alone: {_numbers(partition.before)}"
    )
    console.print("In args of the config file, with an entry for each shard under deployments, then `recsys apply`:")
    flow = yaml.safe_dump({"shards": shards, "routing": routing}, sort_keys=False, allow_unicode=True, width=10_000,
                          default_flow_style=None)  # fmt: skip
    console.print(flow, markup=False, soft_wrap=True, end="")


def _numbers(counts: Any) -> str:
    return ", ".join(f"{count:,}" for count in counts)
