"""recsys scale, hold and release."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.options import Json, out, print_json
from deployments.cli.platform_choice import AnyConfig, running
from deployments.machine.config_change import Change, rescale
from deployments.machine.instance import Instance
from deployments.machine.live_scaling import Bounds, Scale, bound, hold, late, scales
from deployments.machine.rollout import rollout_of
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
    json: Json = False,
) -> None:
    """Change how many replicas a deployment has, live. The config file stays: the next `recsys up` goes by it."""
    bounds = Bounds.parse(replicas)
    _change(running(config), json, lambda running_config: bound(running_config, deployment, bounds))


def hold_(
    deployment: Annotated[str | None, typer.Argument(help="None: all that scale by load.")] = None,
    config: AnyConfig = None,
    json: Json = False,
) -> None:
    """Keep as many replicas as there are now, whatever the load, until `recsys release`."""
    _change(running(config), json, lambda running_config: hold(running_config, deployment, held=True))


def release(
    deployment: Annotated[str | None, typer.Argument(help="None: all that are held.")] = None,
    config: AnyConfig = None,
    json: Json = False,
) -> None:
    """Let the load decide again, within the same bounds."""
    _change(running(config), json, lambda running_config: hold(running_config, deployment, held=False))


def table_of(deployments: list[Scale]) -> Table:
    """Return the table of deployments with their replicas and bounds."""
    table = Table("deployment", "replicas", "wanted", "bounds", "")
    for one in deployments:
        bounds = str(one.low) if one.low == one.high else f"{one.low} to {one.high}"
        table.add_row(one.deployment, str(one.running), str(one.target), bounds, "held" if one.held else "")
    return table


def _change(instance: Instance, json: bool, change: Change) -> None:
    start = time.monotonic()
    with rollout_of(instance) as rollout, out(quiet=json).status("until the replicas are there"):
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
