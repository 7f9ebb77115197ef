"""recsys apply: updates a running platform from a changed config file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.client import Client
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json, typed
from deployments.cli.progress import bars, phases
from deployments.machine.config_apply import apply as hand_in
from deployments.machine.config_apply import planned, refuse_starts
from deployments.machine.config_diff import Change
from deployments.machine.instance import Instance
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_for_serve
from deployments.machine.shard_move import ShardMove
from recsys.errors import RuntimeFailure
from recsys.routing import Layout


def add_to(cli: typer.Typer) -> None:
    cli.command()(apply)


def apply(
    config: ConfigFile = DEFAULT_CONFIG,
    discard_edits: Annotated[
        bool, typer.Option("--discard-edits", help="Take scenarios that were edited live back to the file's.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change, and how.")] = False,
    json: Json = False,
) -> None:
    """Hand a changed config file to the platform that runs. Says what changes live and what restarts replicas.

    `user_config` and bounds of replicas change live, and `args.shards` and `args.routing` after a build beside what is
    served; other `args` and ports take `recsys down` and `recsys up`. A file that is wrong, or changes what takes a
    start, is refused before anything is touched. What `recsys scale` or `hold` changed goes back to what the file says.
    A scenario that was edited live stays as it was edited, unless --discard-edits takes it back to the file's; that is
    an edit as well, which can be undone.
    """
    console = out(quiet=json)
    with phases(console) as say:
        say("checks")
        serve_config = read_for_serve(config)
        instance = Runtime.of(serve_config).running()
        changed, move = planned(instance, serve_config), ShardMove(serve_config, instance.redis_url)
        begun = move.begun()
        say.end()
    if not json:
        _show(changed, console)
        _show_begun(begun, console)
    refuse_starts(changed)
    moves = bool(begun) or move.needed
    if (changed or moves) and not dry_run:
        _hand_in(instance, serve_config, move, console)
    with Client(instance.api_url, instance.certificate) as client:
        status = client.call("GET", "/v1/status")
        edited = status["edited_scenarios"]
        back = bool(edited) and discard_edits
        if back and not dry_run:
            edit = {"scenarios": dict.fromkeys(edited), "comment": "recsys apply --discard-edits"}
            client.call("PATCH", "/v1/admin/scenarios", edit)
    applied = not dry_run and bool(changed or moves or back)
    if applied:
        for name, reason in status["refused_settings"].items():
            raise RuntimeFailure(f"{name} goes by the settings of before: {reason}")
    if json:
        changes = [asdict(change) for change in changed]
        print_json({"config": str(config), "changes": changes, "edited_scenarios": edited, "applied": applied})
        return
    if edited and not discard_edits:
        console.print(_stand(edited, status["scenario_edit"], config), style="yellow", markup=False, soft_wrap=True)
    if back:
        console.print(f"{'would be' if dry_run else 'are'} as in the file again: {', '.join(edited)}", soft_wrap=True)
    if applied:
        console.print(f"the platform goes by {config}", soft_wrap=True)
    else:
        nothing = "nothing was changed" if changed or moves or back else f"the platform goes by {config} already"
        console.print(nothing, soft_wrap=True)


def _hand_in(instance: Instance, config: ServeConfig, move: ShardMove, console: Console) -> None:
    version = None
    if move.needed:
        with bars(console) as progress:
            version = move.build(progress)
    with phases(console) as say:
        hand_in(instance, config, move, version, say)
        say.end()


def _stand(edited: list[str], edit: dict[str, Any], config: Path) -> str:
    one = len(edited) == 1
    return (
        f"scenario{'' if one else 's'} {', '.join(edited)}: {'stands' if one else 'stand'} as edited live (edit "
        f"{edit['version']}, by {edit['author']}), and not as in the file; back to the file's with: "
        f"{typed(config, 'apply', '--discard-edits')}"
    )


def _show(changed: list[Change], console: Console) -> None:
    if not changed:
        return
    table = Table(*(Column(name, overflow="fold") for name in ("setting", "old", "new", "how")))
    for change in changed:
        also = f", with {change.also} between" if change.also else ""
        table.add_row(change.setting, _text(change.old), _text(change.new), change.how + also)
    console.print(table, markup=False)


def _show_begun(layouts: Sequence[Layout], console: Console) -> None:
    for layout in layouts:
        console.print(f"a move between these shards and others ({layout.router.shards}) is under way", soft_wrap=True)


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
