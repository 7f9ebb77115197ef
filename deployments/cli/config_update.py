"""recsys apply: updates a running platform from a changed config file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.client import Client
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.cli.progress import phases
from deployments.machine.config_apply import apply as hand_in
from deployments.machine.config_apply import planned, refuse_starts
from deployments.machine.config_diff import Change
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from recsys.errors import RuntimeFailure


def add_to(cli: typer.Typer) -> None:
    cli.command()(apply)


def apply(
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change, and how.")] = False,
    json: Json = False,
) -> None:
    """Hand a changed config file to the platform that runs. Says what changes live and what restarts replicas.

    `user_config` and bounds of replicas change live, `args` and ports take `recsys down` and `recsys up`. A file that
    is wrong, or changes what takes a start, is refused before anything is touched. What `recsys scale` or `hold`
    changed goes back to what the file says.
    """
    console = out(quiet=json)
    with phases(console) as say:
        say("checks")
        serve_config = read_for_serve(config)
        instance = Runtime.of(serve_config).running()
        changed = planned(instance, serve_config)
        say.end()
    report: dict[str, Any] = {"config": str(config), "changes": [asdict(change) for change in changed]}
    if not json:
        _show(changed, console)
    refuse_starts(changed)
    if dry_run or not changed:
        if json:
            print_json({**report, "applied": False})
        else:
            console.print(
                "nothing was changed" if changed else f"the platform goes by {config} already", soft_wrap=True
            )
        return
    with phases(console) as say:
        hand_in(instance, serve_config, say)
        say.end()
    with Client(instance.api_url, instance.certificate) as client:
        refused = client.call("GET", "/v1/status")["refused_settings"]
    for name, reason in refused.items():
        raise RuntimeFailure(f"{name} goes by the settings of before: {reason}")
    if json:
        print_json({**report, "applied": True})
    else:
        console.print(f"the platform goes by {config}", soft_wrap=True)


def _show(changed: list[Change], console: Console) -> None:
    if not changed:
        return
    table = Table(*(Column(name, overflow="fold") for name in ("setting", "old", "new", "how")))
    for change in changed:
        also = f", with {change.also} between" if change.also else ""
        table.add_row(change.setting, _text(change.old), _text(change.new), change.how + also)
    console.print(table, markup=False)


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
