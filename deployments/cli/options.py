"""Options that several commands share, and how they show what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="RECSYS_CONFIG", help="The Serve config file of the platform.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and no progress.")]
Files = Annotated[
    list[Path], typer.Argument(help="CSV, TSV, JSON or Parquet files, packed or not; folders of Parquet.")
]
OptionalFiles = Annotated[
    list[Path] | None, typer.Argument(help="CSV, TSV, JSON or Parquet files, packed or not; folders of Parquet.")
]
DEFAULT_CONFIG = Path("configs/local.yaml")


def out(*, quiet: bool = False) -> Console:
    """For people: progress and tables, on stderr, so that a pipe gets results only."""
    return Console(stderr=True, quiet=quiet, highlight=False)


def print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
