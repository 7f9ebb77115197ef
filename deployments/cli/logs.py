"""recsys logs: shows the log lines of a platform's parts."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import orjson
import typer

from deployments.cli.options import Json, out
from deployments.cli.platform_choice import AnyConfig, platform_of_logs
from deployments.machine.log_files import PARTS, Line, Logs
from deployments.machine.processes import instance_processes
from recsys.errors import BadInput

_LOOK_S = 0.5
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
Level = Literal["debug", "info", "warning", "error"]


def add_to(cli: typer.Typer) -> None:
    cli.command()(logs)


def logs(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"{', '.join(PARTS)}, … None: all but ray, which says a lot.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines come, until the platform ends.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(help="Only newer lines: 30s, 10m, 2h, 1d, or a time such as 2026-11-27T17:50:00Z.")
    ] = None,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="At most so many, the newest; 0: all.")] = 200,
    level: Annotated[Level, typer.Option(help="Only lines of this level or a higher one.")] = "info",
    config: AnyConfig = None,
    json: Json = False,
) -> None:
    """Show what the parts of the platform say, in one order; also of one that has ended.

    Times are this machine's. With --json each line is an object: time, level, part, replica, message.
    """
    instance, home = platform_of_logs(config)
    log, earliest, console = Logs(home / "logs", parts or ()), _earliest(since), out(quiet=json)
    lines = _chosen(log.new_lines(instance.ray_logs if instance else None), earliest, level)
    for line in lines[-tail:]:
        _show(line, json=json)
    if not lines:
        console.print(f"nothing of that is in {home / 'logs'}", soft_wrap=True)
    while follow and instance is not None:
        time.sleep(_LOOK_S)
        instance = instance if instance_processes(instance.id) else None
        for line in _chosen(log.new_lines(instance.ray_logs if instance else None), earliest, level):
            _show(line, json=json)
    if follow:
        console.print("the platform has ended")


def _chosen(lines: list[Line], earliest: float, level: Level) -> list[Line]:
    least = _LEVELS.index(level.upper())
    return [
        line
        for line in lines
        if line.at >= earliest and (line.level not in _LEVELS or _LEVELS.index(line.level) >= least)
    ]


def _show(line: Line, *, json: bool) -> None:
    at = datetime.fromtimestamp(line.at, UTC)
    if json:
        fields = {"time": at.isoformat(timespec="milliseconds"), "level": line.level, "part": line.part}
        typer.echo(orjson.dumps({**fields, "replica": line.replica or None, "message": line.message}).decode())
        return
    name = f"{line.part} {line.replica}".strip()
    text = line.message.replace("\n", "\n    ")
    typer.echo(f"{at.astimezone():%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} {line.level:<7} {name:<17} {text}")


def _earliest(since: str | None) -> float:
    """Return the Unix seconds of `--since`. Raises BadInput when it is neither a span nor a time."""
    if since is None:
        return 0.0
    if match := re.fullmatch(r"(\d+)([smhd])", since):
        return time.time() - int(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(since).astimezone().timestamp()
    except ValueError:
        raise BadInput(
            f"--since: {since!r} is neither a span such as 30s, 10m, 2h or 1d, nor a time such as 2026-11-27T17:50:00Z"
        ) from None
