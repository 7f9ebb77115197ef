"""recsys apply, down, status."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.client import Client
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.cli.progress import phases
from deployments.cli.scaling import rollout_of, table_of
from deployments.machine.instance import Instance
from deployments.machine.live_scaling import Scale, scales
from deployments.machine.redis_check import refused_writes
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config, read_for_serve
from recsys.errors import RuntimeFailure


def add_to(cli: typer.Typer) -> None:
    for command in (apply, down, status):
        cli.command()(command)


def apply(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Hand a changed config file to the platform that runs. `user_config` and bounds change live, `args` restart it."""
    known, console = read_for_serve(config), out(quiet=json)
    with phases(console) as say:
        instance = Runtime.of(known).apply(known, say)
        say.end()
    with Client(instance.api_url, instance.certificate) as client:
        refused = client.call("GET", "/v1/status")["refused_settings"]
    for name, reason in refused.items():
        raise RuntimeFailure(f"{name} goes by the settings of before: {reason}")
    if json:
        print_json({"applied": str(config)})
    else:
        console.print(f"the platform goes by {config}")


def down(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Stop what `recsys up` or `recsys demo` started here, and nothing else. Data stays."""
    console = out(quiet=json)
    with phases(console) as say:
        stopped = Runtime.of(read_config(config)).down(say)
        say.end()
    if json:
        print_json({"stopped": stopped})
    else:
        console.print(f"{stopped} processes stopped" if stopped else "nothing was running")


def status(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Say what runs: versions, replicas and their bounds, log positions. Exit code 1 when the platform is not up."""
    known = read_config(config)
    found = Runtime.of(known).status()
    if not found.running or found.instance is None:
        raise RuntimeFailure("the platform is not up; start it with: recsys up")
    refused = refused_writes(found.instance.redis_url, known.platform.redis_prefix)
    if refused and not json:
        Console(stderr=True).print(refused, style="yellow", markup=False, soft_wrap=True)
    with Client(found.instance.api_url, found.instance.certificate) as client:
        said = client.call("GET", "/v1/status")
    scaled = _scales(known)
    if json:
        deployments = [asdict(one) for one in scaled]
        ours = {"applications": found.applications, "deployments": deployments, "redis_refuses": refused}
        print_json({**urls(found.instance), **ours, **said})
        return
    table = Table("part", "replica", "items", "versions and log positions")
    for shard in said["shards"]:
        for replica in shard["replicas"]:
            positions = ", ".join(f"{version} at {cursor}" for version, cursor in replica["versions"].items())
            table.add_row(f"shard-{shard['shard']}", replica["id"], str(replica["items"]), positions)
    for composer in said["composers"]:
        table.add_row("Composer", composer["id"], "", f"serves {composer['serving']}")
    console = Console()
    console.print(f"version {said['index_version']}, {said['items']} items, recall@10 {said['recall_at_10']}")
    console.print(table)
    console.print(table_of(scaled))
    if said["promoted_version"] not in {None, said["index_version"]}:
        console.print(f"version {said['promoted_version']} is promoted and not served yet")
    for one in said["rejected"]:
        console.print(f"{one['by']} cannot open version {one['version']}: {one['reason']}", markup=False)
    for name, reason in said["refused_settings"].items():
        console.print(f"{name} goes by the settings of before: {reason}")
    console.print("  ".join(f"{name} {url}" for name, url in urls(found.instance).items()))


def _scales(config: ServeConfig) -> list[Scale]:
    with rollout_of(config) as rollout:
        return scales(rollout.details())


def urls(instance: Instance) -> dict[str, str]:
    return {"api": instance.api_url, "docs": f"{instance.api_url}/docs", "dashboard": instance.dashboard_url}
