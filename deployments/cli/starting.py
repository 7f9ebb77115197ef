"""recsys up: starts a platform."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, DryRun, Json, out, print_json, typed
from deployments.cli.platform import tell_urls, urls
from deployments.cli.progress import bars, phases
from deployments.cli.promoting import running_redis
from deployments.machine.foreground import end_as_by_ctrl_c, until_ended
from deployments.machine.instance import Instance
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_for_serve
from recsys.backup.under_way import refuse_if_half_restored
from recsys.errors import RuntimeFailure
from recsys.versions.fitting import fitting_version
from recsys.versions.manifest import Manifest


def add_to(cli: typer.Typer) -> None:
    cli.command()(up)


def up(
    config: ConfigFile = DEFAULT_CONFIG,
    block: Annotated[
        bool,
        typer.Option(
            "--block",
            help="Stay, and stop the platform when told to; exit code 1 when it ends by itself: for a container.",
        ),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Start the platform of a config file: Valkey (when redis_url is unset), Ray, and the application; then return."""
    serve_config, console = read_for_serve(config), out(quiet=json)
    refuse_if_half_restored(serve_config.platform.home())
    if dry_run:
        _show_planned(serve_config, console, json=json)
        return
    if block:
        end_as_by_ctrl_c()
    if (served := fitting_version(serve_config)) is None:
        served = _empty_version(serve_config, console)
    instance = start(serve_config, console)[0]
    if json:
        print_json({**urls(instance), "token_file": str(instance.token_file)})
    else:
        tell_urls(instance, console)
    if not served.items:
        step = typed(config, "import", "items", "FILES")
        console.print(f"the catalogue is empty; send items with: {step}", markup=False, soft_wrap=True)
    if block:
        _stay(instance, Runtime.of(serve_config))


def _empty_version(config: ServeConfig, console: Console) -> Manifest:
    from recsys.jobs.build_files import ensure_version  # noqa: PLC0415 - takes a second, and few starts build

    with bars(console) as report:
        served, is_new = ensure_version(config, report, redis_url=running_redis(config))
    if is_new:
        console.print(f"no version was there: serving the empty {served.version}")
    return served


def _stay(instance: Instance, runtime: Runtime) -> None:
    """Return when this process was told to end and the platform is stopped.

    Raises RuntimeFailure when the platform ended by itself; what is left of it is stopped.
    """
    ended = until_ended(instance.id)
    runtime.down()
    if ended is not None:
        raise RuntimeFailure(f"{ended} has ended, and the rest of the platform was stopped: start it again")


def _show_planned(config: ServeConfig, console: Console, *, json: bool) -> None:
    served = fitting_version(config)
    instance = foreseen(config, console)
    if json:
        print_json({"dry_run": True, **urls(instance), "version": None if served is None else served.version})
        return
    what = "an empty version, as none is there" if served is None else f"version {served.version}"
    console.print(
        f"would start the platform of {instance.home} with {what}, at {instance.api_url}. Nothing was changed.",
        soft_wrap=True,
    )


def foreseen(config: ServeConfig, console: Console) -> Instance:
    """Return what `start` would start. Raises what it would refuse."""
    return Runtime.of(config).foreseen(config, warn=lambda line: _warn(line, console))


def start(config: ServeConfig, console: Console) -> tuple[Instance, dict[str, float]]:
    """Start the platform. Return the running instance, and the seconds of each phase."""
    with phases(console) as say:
        instance = Runtime.of(config).up(config, say, warn=lambda line: _warn(line, console))
        say.end()
    return instance, say.seconds


def _warn(line: str, console: Console) -> None:
    console.print(line, style="yellow", markup=False, soft_wrap=True)
