"""recsys scale, hold and release."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.options import DryRun, Json, out, print_json
from deployments.cli.platform_choice import AnyConfig, running
from deployments.machine.config_change import Change, rescale
from deployments.machine.instance import Instance
from deployments.machine.live_scaling import Bounds, Scale, bound, foreseen, hold, late, running_config, scales
from deployments.machine.rollout import Rollout, rollout_of
from recsys.errors import RuntimeFailure

Deployment = Annotated[str, typer.Argument(help="Composer, Encoder, shard-0, …")]
_WITHIN_S = 120.0
_LOOK_S = 0.1


def add_to(cli: typer.Typer) -> None:
    cli.command()(scale)
    cli.command("hold")(hold_)
    cli.command()(release)


def scale(
    deployment: Deployment,
    replicas: Annotated[str, typer.Argument(help="A number, or MIN:MAX for the load to decide.")],
    config: AnyConfig = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Change how many replicas a deployment has, live. The config file stays: the next `recsys up` goes by it."""
    bounds = Bounds.parse(replicas)
    _change(running(config), lambda serve_config: bound(serve_config, deployment, bounds), dry_run=dry_run, json=json)


def hold_(
    deployment: Annotated[str | None, typer.Argument(help="None: all that scale by load.")] = None,
    config: AnyConfig = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Keep as many replicas as there are now, whatever the load, until `recsys release`."""
    _change(running(config), lambda serve_config: hold(serve_config, deployment, held=True), dry_run=dry_run, json=json)


def release(
    deployment: Annotated[str | None, typer.Argument(help="None: all that are held.")] = None,
    config: AnyConfig = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let the load decide again, within the same bounds."""
    _change(
        running(config), lambda serve_config: hold(serve_config, deployment, held=False), dry_run=dry_run, json=json
    )


def table_of(deployments: list[Scale]) -> Table:
    """Return the table of deployments with their replicas and bounds."""
    table = Table("deployment", "replicas", "wanted", "bounds", "")
    for one in deployments:
        bounds = str(one.low) if one.low == one.high else f"{one.low} to {one.high}"
        table.add_row(one.deployment, str(one.running), str(one.target), bounds, "held" if one.held else "")
    return table


def _change(instance: Instance, change: Change, *, dry_run: bool, json: bool) -> None:
    start = time.monotonic()
    with rollout_of(instance) as rollout:
        if dry_run:
            _show_planned(rollout, change, json=json)
            return
        with out(quiet=json).status("until the replicas are there"):
            changed, _ = rescale(rollout, change, instance.home)
            while waiting := late(changed, rollout.details()):
                if time.monotonic() - start > _WITHIN_S:
                    names = ", ".join(waiting)
                    raise RuntimeFailure(f"{names}: not there after {_WITHIN_S:.0f} s; it goes on, see `recsys status`")
                time.sleep(_LOOK_S)
        deployments = scales(rollout.details())
    took_s = time.monotonic() - start
    if json:
        print_json({"took_s": round(took_s, 3), "deployments": [one.model_dump() for one in deployments]})
    else:
        Console().print(table_of(deployments))
        out().print(f"{took_s:.1f} s")


def _show_planned(rollout: Rollout, change: Change, *, json: bool) -> None:
    details = rollout.details()
    planned = foreseen(change(running_config(details)), details)
    changed = [one.deployment for one, now in zip(planned, scales(details), strict=True) if one != now]
    if json:
        deployments = [one.model_dump() for one in planned]
        print_json({"dry_run": True, "changed": changed, "deployments": deployments})
        return
    Console().print(table_of(planned))
    out().print(
        f"{', '.join(changed) or 'nothing'} would change, to what is shown. Nothing was changed.", soft_wrap=True
    )
