"""The choice of the platform for commands that work without a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import DEFAULT_CONFIG
from deployments.machine.instance import Instance, instances, read_instance
from deployments.machine.processes import instance_processes
from deployments.machine.serve_config import read_config
from recsys.errors import RuntimeFailure

AnyConfig = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="RECSYS_CONFIG", help="The Serve config file of the platform; none: the one that runs."
    ),
]

_NOT_UP = "the platform is not up; start it with: recsys up"


def running(config: Path | None) -> Instance:
    """Return the running platform of the config file. Without one, return that of configs/local.yaml if it runs, else
    the only platform that this user runs on the machine.

    Raises RuntimeFailure, naming the running platforms, when there is none or more than one.
    """
    home, others = _home_of(config), running_instances()
    if home is not None and (instance := running_in(home)) is not None:
        return instance
    if config is not None:
        raise RuntimeFailure(f"{_NOT_UP}{beside(others)}")
    if len(others) == 1:
        return others[0]
    raise RuntimeFailure(
        f"several platforms run here: name one by its config file{beside(others)}" if others else _NOT_UP
    )


def platform_of_logs(config: Path | None) -> tuple[Instance | None, Path]:
    """Return the platform as `running` does, and its home. None with a home: the platform has ended."""
    home = _home_of(config)
    if home is not None and (config is not None or not running_instances()):
        return running_in(home), home
    instance = running(config)
    return instance, instance.home


def running_instances() -> list[Instance]:
    """Return the platforms of this user that run on the machine."""
    return [one for one in instances() if instance_processes(one.id)]


def beside(others: list[Instance]) -> str:
    """Return the names of running platforms for the end of a message. Empty: there are none."""
    named = ", ".join(f"{one.home} (--config {one.config_file})" for one in others)
    return f"; running: {named}" if named else ""


def _home_of(config: Path | None) -> Path | None:
    """Return the home of the config file, or of configs/local.yaml if it exists."""
    if config is None and not DEFAULT_CONFIG.exists():
        return None
    return read_config(config or DEFAULT_CONFIG).platform.home()


def running_in(home: Path) -> Instance | None:
    """The platform of this home, or this machine's node of its cluster; None: neither runs."""
    for place in (home, *sorted((home / "nodes").glob("*"))):
        instance = read_instance(place)
        if instance is not None and instance_processes(instance.id):
            return instance
    return None
