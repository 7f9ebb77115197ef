"""recsys up."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from deployments.cli.options import DEFAULT_CONFIG, Config, Json, out, print_json
from deployments.cli.platform import runtime_of, urls
from deployments.cli.progress import bars, phases
from deployments.cli.versions import publish, store_of
from deployments.machine.instance import Instance
from deployments.machine.serve_config import own_config, platform_of
from recsys.errors import VersionError


def add_to(cli: typer.Typer) -> None:
    cli.command()(up)


def up(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Start the platform of a config file: Valkey (when redis_url is unset), Ray, and the application; then return."""
    console = out(quiet=json)
    ensure_version(config, console)
    instance = start(config, console)[0]
    if json:
        print_json(urls(instance))
    else:
        console.print("  ".join(f"{name} {url}" for name, url in urls(instance).items()))


def ensure_version(config: Path, console: Console) -> None:
    """There is a version to serve, if only an empty one: items may then come over HTTP.

    Raises VersionError when the one there was built for another number of shards.
    """
    store, platform = store_of(config), platform_of(own_config(config))
    current = store.current()
    if current is None:
        with bars(console) as report:
            current = store.promote(publish(config, [], report).version).version
        console.print(f"no version was there: serving the empty {current}")
    manifest = store.manifest(current)
    if not manifest.fits(platform):
        raise VersionError(
            f"version {current} has {len(manifest.shards)} shards and {config} says shards: {platform.shards}, or "
            "routes otherwise; set it back, or make a version that fits with: recsys build --from-live --promote"
        )


def start(config: Path, console: Console) -> tuple[Instance, dict[str, float]]:
    """Up; the running instance, and seconds by phase."""
    with phases(console) as say:
        instance = runtime_of(config).up(
            config, say, warn=lambda line: console.print(line, style="yellow", markup=False, soft_wrap=True)
        )
        say.end()
    return instance, say.seconds
