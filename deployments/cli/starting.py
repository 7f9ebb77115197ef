"""recsys up."""

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
from recsys.errors import VersionError
from recsys.jobs.build_files import build_items
from recsys.versions.store import VersionStore


def add_to(cli: typer.Typer) -> None:
    cli.command()(up)


def up(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Start the platform of a config file: Valkey (when redis_url is unset), Ray, and the application; then return."""
    known, console = read_for_serve(config), out(quiet=json)
    ensure_version(known, console)
    instance = start(known, console)[0]
    if json:
        print_json({**urls(instance), "token_file": str(instance.token_file)})
    else:
        tell_urls(instance, console)


def ensure_version(config: ServeConfig, console: Console) -> None:
    """There is a version to serve, if only an empty one: items may then come over HTTP.

    Raises VersionError when the one there was built for another number of shards.
    """
    store, platform = VersionStore.of(config.platform), config.platform
    current = store.current()
    if current is None:
        with bars(console) as report:
            empty = build_items([], config, report, redis_url=running_redis(config))
        current = store.promote(empty.version).version
        console.print(f"no version was there: serving the empty {current}")
    manifest = store.manifest(current)
    if not manifest.fits(platform):
        raise VersionError(
            f"version {current} has {len(manifest.shards)} shards and {config.file} says shards: {platform.shards}, or "
            "routes otherwise; set it back, or make a version that fits with: recsys build --from-live --promote"
        )


def start(config: ServeConfig, console: Console) -> tuple[Instance, dict[str, float]]:
    """Up; the running instance, and seconds by phase."""
    with phases(console) as say:
        instance = Runtime.of(config).up(
            config, say, warn=lambda line: console.print(line, style="yellow", markup=False, soft_wrap=True)
        )
        say.end()
    return instance, say.seconds
