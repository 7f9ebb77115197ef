"""recsys build, versions, promote, rollback."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.batch.index_client import on_ray
from deployments.cli.bad_rows import BadRows
from deployments.cli.options import (
    DEFAULT_CONFIG,
    ConfigFile,
    Json,
    OptionalFiles,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_tuned
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.data.dialect import ReadOptions
from recsys.errors import RuntimeFailure
from recsys.jobs import promote as promotion
from recsys.jobs.build_files import build_files
from recsys.jobs.compact import compact
from recsys.jobs.switching import until_served
from recsys.shard.snapshot import write_indexes
from recsys.versions.build import Indexer
from recsys.versions.manifest import Manifest, tuned_of
from recsys.versions.store import VersionStore

Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Whether to return only when all that run serve the version.")
]
_SERVED_WITHIN_S = 600.0
"""Loading a version of millions of items takes minutes."""


def add_to(cli: typer.Typer) -> None:
    for command in (reads_files(build), versions, promote, rollback):
        cli.command()(command)


def build(
    files: OptionalFiles = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    from_live: Annotated[
        bool, typer.Option("--from-live", help="Of what is served now and its log, instead of files.")
    ] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Serve the new version as soon as it is built.")] = False,
    address: Annotated[
        str | None, typer.Option(help="host:port of a Ray cluster that indexes the shards side by side, a task each.")
    ] = None,
    json: Json = False,
) -> None:
    """Build an index version: encode, index, measure recall, publish beside the others.

    Of whole item files, on top of which changes that were made over HTTP stay; vectors in Parquet files (recsys embed,
    Spark) are taken instead of encoding. Or, with --from-live, of the served
    version with all those changes in it. Nothing is served before `recsys promote`. A build that died goes on where
    it was when the same one is started again.
    """
    if from_live == bool(files):
        raise typer.BadParameter("name item files, or say --from-live; one of the two")
    console = out(quiet=json)
    known, bad_rows, start = read_config(config), BadRows(console), time.perf_counter()
    runtime, indexer = Runtime.of(known), _indexer(known, address)
    with bars(console) as report:
        if from_live:
            with runtime.redis(known) as url:
                manifest = asyncio.run(compact(known, url, report, indexer, then_promote=promote))
        else:
            manifest = build_files(
                files or [], known, options, report, bad_rows, redis_url=running_redis(known), indexer=indexer
            )
            if promote:
                promoted(known, manifest.version)
    seconds = round(time.perf_counter() - start, 1)
    if json:
        tuned = {"tuned": tuned_of(manifest)}
        print_json({**_summary(manifest), **tuned, "bad_rows": bad_rows.count, "seconds": seconds, "promoted": promote})
    else:
        recall = "-" if manifest.recall_at_10 is None else f"{manifest.recall_at_10:.4f}"
        console.print(
            f"version {manifest.version}: {manifest.items} items in {len(manifest.shards)} shards, "
            f"recall@10 {recall} against exact search, {bad_rows.count} bad rows, {seconds} s"
        )
        say_tuned(tuned_of(manifest), console)
        console.print("serving it" if promote else f"serve it with: recsys promote {manifest.version}")


def versions(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the published versions, named by their time in UTC, which one is served, and how each compared with the one
    before it.
    """
    store = VersionStore.of(read_config(config).platform)
    current = store.current()
    rows: list[dict[str, Any]] = [{**_summary(m), "current": m.version == current} for m in store.versions()]
    if json:
        print_json(rows)
        return
    table = Table(
        *(Column(name, no_wrap=True) for name in ("version", "served", "items", "shards", "recall", "NDCG@10 (before)"))
    )
    for row in rows:
        recall = "-" if row["recall_at_10"] is None else f"{row['recall_at_10']:.4f}"
        compared = row["comparison"]
        quality = "-" if compared is None else f"{compared['candidate']:.4f} ({compared['served']:.4f})"
        shown = (row["version"], "yes" if row["current"] else "", row["items"], row["shards"], recall, quality)
        table.add_row(*map(str, shown))
    Console().print(table)


def promote(version: str, config: ConfigFile = DEFAULT_CONFIG, wait: Wait = True, json: Json = False) -> None:
    """Serve a version from now on; a running platform switches live, without a failed request.

    Returns once all of the platform that runs serves it.
    """
    known = read_config(config)
    _served(known, promoted(known, version), wait=wait, json=json)


def rollback(config: ConfigFile = DEFAULT_CONFIG, wait: Wait = True, json: Json = False) -> None:
    """Serve again the version that was served before. Returns as `recsys promote` does."""
    known = read_config(config)
    with Runtime.of(known).redis_if_used(known) as url:
        manifest = asyncio.run(promotion.rollback(known.platform, url))
    _served(known, manifest, wait=wait, json=json)


def promoted(config: ServeConfig, version: str, instead_of: str | None = None) -> Manifest:
    """See `jobs/promote.py`; the embedded Valkey is started for it where it was ever used and does not run."""
    VersionStore.of(config.platform).manifest(version)  # one that does not exist is told before anything is started
    with Runtime.of(config).redis_if_used(config) as url:
        return asyncio.run(promotion.promote(version, config.platform, url, instead_of))


def running_redis(config: ServeConfig) -> str | None:
    """Where Redis is; None: it does not run, or cannot be reached from here."""
    with contextlib.suppress(RuntimeFailure):
        return Runtime.of(config).running_redis(config)
    return None


def _indexer(config: ServeConfig, address: str | None) -> Indexer:
    """The Ray cluster at `address`; None: in this process."""
    return write_indexes if address is None else on_ray(config.platform.home(), address)


def _summary(manifest: Manifest) -> dict[str, Any]:
    compared = None if manifest.card is None else manifest.card.comparison
    return {
        "version": manifest.version,
        "items": manifest.items,
        "shards": len(manifest.shards),
        "recall_at_10": manifest.recall_at_10,
        "fingerprint": manifest.fingerprint,
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
        "comparison": None if compared is None else compared.model_dump(),
    }


def _served(config: ServeConfig, manifest: Manifest, *, wait: bool, json: bool) -> None:
    console, version, url = out(quiet=json), manifest.version, running_redis(config)
    serving = url is not None and wait
    if serving:
        with console.status(f"until all serve {version}"):
            serving = (
                asyncio.run(
                    until_served(VersionStore.of(config.platform), version, config.platform, url, _SERVED_WITHIN_S)
                )
                > 0
            )
    if json:
        print_json(_summary(manifest))
    else:
        console.print(f"{'serving' if serving else 'promoted'} version {version} with {manifest.items} items")
