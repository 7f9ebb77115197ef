"""recsys up: starts a platform."""

from __future__ import annotations

import typer
from rich.console import Console

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.cli.platform import tell_urls, urls
from deployments.cli.progress import bars, phases
from deployments.cli.versions import running_redis
from deployments.machine.instance import Instance
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_for_serve
from recsys.jobs.build_files import ensure_version


def add_to(cli: typer.Typer) -> None:
    cli.command()(up)


def up(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Start the platform of a config file: Valkey (when redis_url is unset), Ray, and the application; then return."""
    serve_config, console = read_for_serve(config), out(quiet=json)
    with bars(console) as report:
        served, is_new = ensure_version(serve_config, report, redis_url=running_redis(serve_config))
    if is_new:
        console.print(f"no version was there: serving the empty {served.version}")
    instance = start(serve_config, console)[0]
    if json:
        print_json({**urls(instance), "token_file": str(instance.token_file)})
    else:
        tell_urls(instance, console)


def start(config: ServeConfig, console: Console) -> tuple[Instance, dict[str, float]]:
    """Start the platform. Return the running instance, and the seconds of each phase."""
    with phases(console) as say:
        instance = Runtime.of(config).up(
            config, say, warn=lambda line: console.print(line, style="yellow", markup=False, soft_wrap=True)
        )
        say.end()
    return instance, say.seconds
