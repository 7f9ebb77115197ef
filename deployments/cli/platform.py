"""recsys down and recsys status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.client import Client
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, DryRun, Json, out, print_json
from deployments.cli.platform_choice import AnyConfig, beside, running, running_instances
from deployments.cli.progress import phases
from deployments.cli.scaling import table_of
from deployments.machine.instance import Instance
from deployments.machine.live_scaling import scales
from deployments.machine.redis_check import refused_writes
from deployments.machine.rollout import rollout_of
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config


def add_to(cli: typer.Typer) -> None:
    for command in (down, status):
        cli.command()(command)


def down(config: ConfigFile = DEFAULT_CONFIG, dry_run: DryRun = False, json: Json = False) -> None:
    """Stop what `recsys up` or `recsys demo` started here, and nothing else. Data stays."""
    console = out(quiet=json)
    if dry_run:
        _show_planned_end(read_config(config), console, json=json)
        return
    with phases(console) as say:
        stopped = Runtime.of(read_config(config)).down(say)
        say.end()
    if json:
        print_json({"stopped": stopped})
    else:
        others = "" if stopped else beside(running_instances())
        console.print(f"{stopped} processes stopped" if stopped else f"nothing was running{others}", soft_wrap=True)


def _show_planned_end(config: ServeConfig, console: Console, *, json: bool) -> None:
    home, running = config.platform.home(), Runtime.of(config).status().processes
    if json:
        print_json({"dry_run": True, "processes": running})
    else:
        others = "" if running else beside(running_instances())
        console.print(
            f"would stop {running} processes of the platform of {home}. Nothing was changed.{others}", soft_wrap=True
        )


def status(config: AnyConfig = None, json: Json = False) -> None:
    """Say what runs: versions, replicas and their bounds, log positions. Exit code 1 when the platform is not up.

    Without --config it finds the platform that runs.
    """
    instance = running(config)
    refused = refused_writes(instance.redis_url, instance.redis_prefix)
    if refused and not json:
        Console(stderr=True).print(refused, style="yellow", markup=False, soft_wrap=True)
    with Client(instance.api_url, instance.certificate) as client:
        status = client.call("GET", "/v1/status")
    with rollout_of(instance) as rollout:
        details = rollout.details()
    scaled = scales(details)
    if json:
        applications = {name: str(one["status"]) for name, one in details["applications"].items()}
        deployments = [one.model_dump() for one in scaled]
        ours = {"applications": applications, "deployments": deployments, "redis_refuses": refused}
        print_json({**urls(instance), **ours, **status})
        return
    table = Table("part", "replica", "items", "versions and log positions")
    for shard in status["shards"]:
        for replica in shard["replicas"]:
            positions = ", ".join(f"{version} at {cursor}" for version, cursor in replica["versions"].items())
            table.add_row(f"shard-{shard['shard']}", replica["id"], str(replica["items"]), positions)
    for composer in status["composers"]:
        table.add_row("Composer", composer["id"], "", f"serves {composer['serving']}")
    console = Console()
    console.print(f"the platform of {instance.home}, started with {instance.config_file}", soft_wrap=True)
    console.print(f"version {status['index_version']}, {status['items']} items, recall@10 {status['recall_at_10']}")
    console.print(table)
    console.print(table_of(scaled))
    if status["promoted_version"] not in {None, status["index_version"]}:
        console.print(f"version {status['promoted_version']} is promoted and not served yet")
    for line in (*_lost_floors(status["shards"]), *_edits(status)):
        console.print(line, markup=False, soft_wrap=True)
    for one in status["rejected"]:
        console.print(f"{one['by']} cannot open version {one['version']}: {one['reason']}", markup=False)
    for name, reason in status["refused_settings"].items():
        console.print(f"{name} goes by the settings of before: {reason}")
    tell_urls(instance, console)


def _lost_floors(shards: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each replica that cannot hold its recall floor."""
    for shard in shards:
        for replica in shard["replicas"]:
            if (recall := replica["recall"]) is not None and (recall["rebuild"] or recall["exact"]):
                how = "every item is scored" if recall["exact"] else f"ef_search {recall['ef_search']}"
                yield f"shard-{shard['shard']}, {replica['id']}: the recall floor is lost ({how}): {recall['why']}"


def _edits(status: Mapping[str, Any]) -> Iterator[str]:
    """A line where scenarios stand as they were edited, and not as in the config file."""
    if edited := status["edited_scenarios"]:
        edit = status["scenario_edit"]
        names = ", ".join(edited)
        yield f"edited live (edit {edit['version']}, by {edit['author']}), and not as in the config file: {names}"


def urls(instance: Instance) -> dict[str, str]:
    """Return the URLs that a user opens, by name."""
    api = instance.api_url
    return {"console": f"{api}/console", "api": api, "docs": f"{api}/docs", "dashboard": instance.dashboard_url}


def tell_urls(instance: Instance, console: Console) -> None:
    """Print the URLs, and how to get the dashboard's token."""
    for name, url in urls(instance).items():
        console.print(f"  {name:<10} {url}", soft_wrap=True)
    console.print(f"  {'token':<10} the dashboard asks for it: cat {instance.token_file}", soft_wrap=True)
