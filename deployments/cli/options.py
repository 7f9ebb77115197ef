"""Options that several commands share, and their output."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="RECSYS_CONFIG", help="The Serve config file of the platform.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and no progress.")]
# `readable=False`: the readers report unreadable files in one line; click would print the usage of the command.
_FILES = typer.Argument(help="CSV, TSV, JSON or Parquet files, packed or not; folders of Parquet.", readable=False)
Files = Annotated[list[Path], _FILES]
OptionalFiles = Annotated[list[Path] | None, _FILES]
AllowBad = Annotated[
    float | None,
    typer.Option(
        "--allow-bad",
        min=0,
        max=1,
        metavar="SHARE",
        help="Share of rows that may be refused, such as 0.1; by default 0.05, and the exit code is 1 if any was.",
    ),
]
AllowShrink = Annotated[
    bool, typer.Option("--allow-shrink", help="Serve a catalogue though it has less than half the items of before.")
]
IndexedAt = Annotated[
    str | None,
    typer.Option("--address", help="host:port of a Ray cluster that indexes the shards side by side, a task each."),
]
RayAddress = Annotated[
    str | None, typer.Option(help="host:port of a Ray cluster; default: a Ray of its own on this machine.")
]
AllowUnknown = Annotated[
    float | None,
    typer.Option(
        "--allow-unknown",
        min=0,
        max=1,
        metavar="SHARE",
        help="Share of events that may name items which the catalogue lacks; by default 0.5.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Look at everything, say what would be done, and do nothing.")]
DEFAULT_CONFIG = Path("configs/local.yaml")


def typed(config: Path, *words: str) -> str:
    """What to type for a further command of the same platform."""
    return shlex.join(["recsys", *words]) + config_words(config)


def config_words(config: Path) -> str:
    """What names the config file, behind a command that was given none; empty where it need not be named."""
    said = config == DEFAULT_CONFIG or os.environ.get("RECSYS_CONFIG") == str(config)
    return "" if said else f" --config {shlex.quote(str(config))}"


def out(*, quiet: bool = False) -> Console:
    """Return the console for progress and tables. It writes to stderr, so that a pipe gets only results."""
    return Console(stderr=True, quiet=quiet, highlight=False)


def print_json(value: Any) -> None:
    """Print a result to stdout."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
