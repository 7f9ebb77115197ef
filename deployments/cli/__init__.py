"""The `recsys` command."""

from __future__ import annotations

import sys

import typer

from deployments.cli.commands import Commands
from deployments.cli.our_lines import only_our_lines
from recsys.errors import RecsysError


def make_cli() -> typer.Typer:
    cli = typer.Typer(
        name="recsys",
        cls=Commands,
        help="Real-time recommendations over HTTP on Ray Serve. Start with: recsys demo",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    cli.callback()(lambda: None)  # typer wants a command or a callback; the commands are those of `Commands`
    return cli


def main() -> None:
    """Errors that a user can mend are one line on stderr and exit code 1; anything else is a defect, and shows."""
    try:
        with only_our_lines():
            make_cli()()
    except RecsysError as error:
        print(f"recsys: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except OSError as error:  # a full disk, a folder without permission
        print(f"recsys: {error}; is there room, and may this user write there?", file=sys.stderr)  # noqa: T201
        sys.exit(1)
