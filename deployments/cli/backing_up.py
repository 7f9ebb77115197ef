"""recsys backup, backups, restore."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, DryRun, Json, out, print_json, typed
from deployments.cli.progress import bars
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.backup.manifest import BackupManifest
from recsys.backup.store import BackupStore
from recsys.errors import BackupError
from recsys.files import replace
from recsys.jobs import backup as backups_made
from recsys.jobs import restore as restores

Place = Annotated[str, typer.Argument(help="A folder, or a URL that fsspec knows, such as s3://bucket/folder.")]


def add_to(cli: typer.Typer) -> None:
    for command in (backup, backups, restore):
        cli.command()(command)


def backup(
    destination: Place,
    config: ConfigFile = DEFAULT_CONFIG,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Backups that stay there, this one among them; default: all.")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Copy versions, histories, the item log, the log of answers and the config file, all of one moment.

    The platform may run meanwhile. What is there from earlier backups is not copied again.
    """
    serve_config, console, store = read_config(config), out(quiet=json), BackupStore(destination)
    if dry_run:
        _show_planned(serve_config, store, keep, console, json=json)
        return
    with Runtime.of(serve_config).redis(serve_config) as url, bars(console) as report:
        work = backups_made.back_up(serve_config.platform, serve_config.file, url, store, report, keep=keep)
        done = asyncio.run(work)
    summary = _summary(done.manifest) | {
        "stored_files": done.stored, "stored_bytes": done.stored_bytes, "removed": list(done.removed),
    }  # fmt: skip
    if json:
        print_json(summary)
        return
    gone = f"; removed {', '.join(done.removed)}" if done.removed else ""
    console.print(
        f"backup {done.manifest.name}: {_words(summary)}; {done.stored} files with {_size(done.stored_bytes)} were "
        f"new{gone}",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"restore it with: {typed(config, 'restore', destination)}", markup=False, soft_wrap=True)


def backups(source: Place, json: Json = False) -> None:
    """List the complete backups in a place."""
    store = BackupStore(source)
    rows = [_summary(store.manifest(name)) for name in store.names()]
    if json:
        print_json(rows)
        return
    table = Table(*(Column(name, no_wrap=True) for name in ("backup", "moment", "served", "versions", "keys", "size")))
    for row in rows:
        size = _size(row["bytes"])
        table.add_row(row["backup"], row["at"], row["served"] or "-", str(len(row["versions"])), str(row["keys"]), size)
    Console().print(table)


def restore(
    source: Place,
    config: ConfigFile = DEFAULT_CONFIG,
    name: Annotated[
        str | None, typer.Option("--backup", help="One of `recsys backups`; by default the newest one.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Delete what Redis holds under the platform's prefix, and restore over it."),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Bring a platform to where a backup was made, on a machine that has none of it.

    All checksums are compared before anything is touched. Where the config file is missing, that of the backup is
    taken. With --dry-run every file is read and compared, and nothing is written.
    """
    console, store = out(quiet=json), BackupStore(source)
    manifest = store.manifest(name)
    with tempfile.TemporaryDirectory() as folder:
        is_new = not config.exists()
        if is_new and overwrite:
            raise BackupError(
                f"{config} is not there, and with --overwrite the backup's own config file would name what is deleted: "
                "write one that names this machine's Redis and folders"
            )
        file = _config_of(manifest, store, Path(folder)) if is_new else config
        serve_config = read_config(file)
        if dry_run:
            _check(serve_config, manifest, store, Path(folder), console, overwrite=overwrite, json=json)
            return
        runtime = Runtime.of(serve_config)
        with runtime.redis_if_used(serve_config) as used:  # before an embedded server makes files of its own
            asyncio.run(restores.check(serve_config.platform, used, manifest, overwrite=overwrite))
        with runtime.redis(serve_config) as url, bars(console) as report:
            work = restores.restore(serve_config.platform, url, store, manifest, report, overwrite=overwrite)
            asyncio.run(work)
        if is_new:
            replace(config, file.read_bytes())
    if json:
        print_json(_summary(manifest) | {"config": str(config)})
        return
    written = f"; {config} is that of the backup" if is_new else ""
    console.print(f"restored {manifest.name}: {_words(_summary(manifest))}{written}", markup=False, soft_wrap=True)
    console.print(f"start it with: {typed(config, 'up')}", markup=False, soft_wrap=True)


def _config_of(manifest: BackupManifest, store: BackupStore, folder: Path) -> Path:
    if manifest.config is None:
        raise BackupError(f"backup {manifest.name} has no config file: name one with --config")
    path = folder / manifest.config.path
    store.fetch(manifest.config, path)
    return path


def _check(
    config: ServeConfig,
    manifest: BackupManifest,
    store: BackupStore,
    folder: Path,
    console: Console,
    *,
    overwrite: bool,
    json: bool,
) -> None:
    with Runtime.of(config).redis_if_used(config) as url:
        asyncio.run(restores.check(config.platform, url, manifest, overwrite=overwrite))
    with bars(console) as report:
        restores.verify(store, manifest, folder, report)
    summary = _summary(manifest)
    if json:
        print_json({"dry_run": True, **summary})
        return
    console.print(
        f"would restore {manifest.name}: {_words(summary)}; all {summary['files']} files are whole. "
        "Nothing was changed.",
        markup=False,
        soft_wrap=True,
    )


def _show_planned(config: ServeConfig, store: BackupStore, keep: int | None, console: Console, *, json: bool) -> None:
    platform, names = config.platform, store.names()
    planned = backups_made.foreseen(platform)
    gone = names[: max(0, len(names) + 1 - keep)] if keep is not None else []
    if json:
        print_json({"dry_run": True, "versions": list(planned), "backups": names, "removed": gone})
        return
    removes = f", and remove {', '.join(gone)}" if gone else ""
    console.print(
        f"would back up {len(planned)} versions and what Redis holds under {platform.redis_prefix!r} to {store.url}, "
        f"which has {len(names)} backups{removes}. Nothing was changed.",
        markup=False,
        soft_wrap=True,
    )


def _summary(manifest: BackupManifest) -> dict[str, Any]:
    files = {file.sha256: file.bytes for file in manifest.files()}
    return {
        "backup": manifest.name,
        "at": manifest.moment.isoformat(timespec="milliseconds"),
        "served": manifest.current.version if manifest.current else None,
        "versions": list(manifest.versions),
        "log": manifest.log,
        "keys": manifest.keys,
        "files": len(files),
        "bytes": sum(files.values()),
    }


def _words(summary: dict[str, Any]) -> str:
    return (
        f"{len(summary['versions'])} versions, {summary['keys']:,} keys of Redis, {_size(summary['bytes'])}, "
        f"as of {summary['at']}"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
