"""recsys scale, hold, release."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.machine.config_change import Change, rescale
from deployments.machine.live_scaling import Bounds, Scale, bound, hold, late, scales
from deployments.machine.rollout import Rollout
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
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
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Change how many replicas a deployment has, live. The config file stays: the next `recsys up` goes by it."""
    bounds = Bounds.parse(replicas)
    _change(read_config(config), json, lambda running: bound(running, deployment, bounds))


def hold_(
    deployment: Annotated[str | None, typer.Argument(help="None: all that scale by load.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Keep as many replicas as there are now, whatever the load, until `recsys release`."""
    _change(read_config(config), json, lambda running: hold(running, deployment, held=True))


def release(
    deployment: Annotated[str | None, typer.Argument(help="None: all that are held.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Let the load decide again, within the same bounds."""
    _change(read_config(config), json, lambda running: hold(running, deployment, held=False))


def rollout_of(config: ServeConfig) -> Rollout:
    """To the platform that runs. RuntimeFailure when none does."""
    instance = Runtime.of(config).status().instance
    if instance is None:
        raise RuntimeFailure("the platform is not up; start it with: recsys up")
    return Rollout(instance.dashboard_url, instance.token, instance.log_dir / "ray")


def table_of(found: list[Scale]) -> Table:
    table = Table("deployment", "replicas", "wanted", "bounds", "")
    for one in found:
        bounds = str(one.low) if one.low == one.high else f"{one.low} to {one.high}"
        table.add_row(one.deployment, str(one.running), str(one.target), bounds, "held" if one.held else "")
    return table


def _change(config: ServeConfig, json: bool, change: Change) -> None:
    start = time.monotonic()
    with rollout_of(config) as rollout, out(quiet=json).status("until the replicas are there"):
        changed, _ = rescale(rollout, change, config.platform.home())
        while waiting := late(changed, rollout.details()):
            if time.monotonic() - start > _WITHIN_S:
                names = ", ".join(waiting)
                raise RuntimeFailure(f"{names}: not there after {_WITHIN_S:.0f} s; it goes on, see `recsys status`")
            time.sleep(_LOOK_S)
        found = scales(rollout.details())
    took_s = time.monotonic() - start
    if json:
        print_json({"took_s": round(took_s, 3), "deployments": [asdict(one) for one in found]})
    else:
        Console().print(table_of(found))
        out().print(f"{took_s:.1f} s")
