"""The commands by name. Each is imported when it is called: importing all of them takes seconds."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

COMMANDS = {
    "demo": ("demo", "MovieLens 100K: fetch, build, start everything, show what one event changes."),
    "up": ("starting", "Start the platform of a config file."),
    "node": ("node", "This machine's part of a cluster."),
    "apply": ("config_update", "Hand a changed config file to the platform that runs."),
    "down": ("platform", "Stop what `recsys up` or `recsys demo` started here, and nothing else."),
    "status": ("platform", "Say what runs: versions, replicas and their bounds, log positions."),
    "logs": ("logs", "Show what the parts of the platform say, in one order; also of one that has ended."),
    "scale": ("scaling", "Change how many replicas a deployment has, live."),
    "hold": ("scaling", "Keep as many replicas as there are now, whatever the load."),
    "release": ("scaling", "Let the load decide again, within the same bounds."),
    "inspect": ("inspecting", "Look at files before anything is done with them: format, columns, a profile, odd rows."),
    "import": ("catalogue", "Send items or events from files to the running platform."),
    "partition": (
        "partitioning",
        "Propose which shards hold which values of an attribute, from the served items or from item files.",
    ),
    "embed": ("embedding", "Encode whole item files into a folder of Parquet, for `recsys build FOLDER`."),
    "build": ("building", "Build an index version: encode, index, measure recall, publish beside the others."),
    "versions": ("versions", "List the published versions."),
    "promote": ("versions", "Serve a version from now on."),
    "rollback": ("versions", "Serve again the version that was served before."),
    "train": ("training", "Learn from events and build a version with what was learned."),
    "evaluate": (
        "evaluation",
        "Train on a part, serve it in this process as the platform would, and judge it on the rest.",
    ),
    "tune": (
        "tuning",
        "Find the cheapest index that meets a target on your own vectors, and write it into the config file.",
    ),
    "batch": ("batch", "Write recommendations for all users who have a history, as Parquet."),
    "report": ("report", "Say what came of the answers of a period: impressions, clicks, conversions, value."),
    "export": ("exporting", "Write items with their vectors, users and events as Parquet."),
    "backup": ("backing_up", "Copy versions, histories, the item log, the log of answers and the config file."),
    "backups": ("backing_up", "List the complete backups in a place."),
    "restore": ("backing_up", "Bring a platform to where a backup was made."),
    "experiment": ("experiment", "Experiments of the running platform: docs/experiments.md."),
    "keys": ("keys", "API keys of the platform."),
}
"""By name: the module of this package whose `add_to` adds the command, and its line in `recsys --help`."""


class Commands(TyperGroup):
    """The group of all commands. It lists them from COMMANDS and imports only the command that is run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Return the names in the order of COMMANDS; click would sort them."""
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(command.name or ""), rest


def load(name: str) -> Any:
    """Import a command and return it as a click command with its options."""
    cli = typer.Typer(add_completion=False)
    cli.callback()(lambda: None)  # makes it a group also when it has one command
    import_module(f"deployments.cli.{COMMANDS[name][0]}").add_to(cli)
    return get_command(cli).commands[name]  # type: ignore[attr-defined] # groups have it
