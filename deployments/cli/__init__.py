"""The `recsys` command."""

from __future__ import annotations

import sys

import typer

from deployments.cli.commands import Commands
from deployments.cli.log_filter import own_logs_only
from recsys.errors import RecsysError

_WITH_TORCH = frozenset({"torch", "sentence_transformers", "transformers", "onnx", "onnxscript"})
"""Packages of the extra `torch`, which an image for serving does not have."""


def make_cli() -> typer.Typer:
    cli = typer.Typer(
        name="recsys",
        cls=Commands,
        help="Real-time recommendations over HTTP on Ray Serve. Start with: recsys demo",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    cli.callback()(lambda: None)  # typer requires a command or a callback; `Commands` has the commands
    return cli


def main() -> None:
    """Run a command. Errors that a user can fix are one line on stderr with exit code 1. Others show a traceback."""
    try:
        with own_logs_only():
            make_cli()()
    except RecsysError as error:
        print(f"recsys: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _WITH_TORCH:
            raise
        print(  # noqa: T201
            f"recsys: this takes {error.name}, which is not installed here: run it where recsys[torch] is, such as in "
            "the image `recsys:full`",
            file=sys.stderr,
        )
        sys.exit(1)
    except OSError as error:  # a full disk, a folder without permission
        print(f"recsys: {error}; is there room, and may this user write there?", file=sys.stderr)  # noqa: T201
        sys.exit(1)
