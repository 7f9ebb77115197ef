"""recsys build, versions, promote, rollback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Column, Table

from deployments.batch.index_client import on_ray
from deployments.cli.options import DEFAULT_CONFIG, Config, Json, Mapping, OptionalFiles, mapping_of, out, print_json
from deployments.cli.progress import bars
from deployments.cli.reading import read_catalogue
from deployments.cli.tuning_report import say_tuned
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import own_config, platform_of, tuning_of
from recsys.config import Platform
from recsys.data.vector_chunks import VECTOR
from recsys.data.vector_files import Given, read_vectors
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress, WhenNeeded
from recsys.errors import RuntimeFailure, Unavailable
from recsys.shard.snapshot import write_indexes
from recsys.state.connection import connect
from recsys.state.item_log import ItemLog
from recsys.versions import promotion
from recsys.versions.brought_vectors import with_vectors
from recsys.versions.build import Build, Indexer
from recsys.versions.contents import compact, file_content, learned_so_far
from recsys.versions.prerequisites import check_tools
from recsys.versions.retention import prune
from recsys.versions.store import Manifest, VersionStore, tuned_of

_PATIENCE_S = 30.0
"""Seconds for one answer of Redis: nobody waits for these but the command."""


def add_to(cli: typer.Typer) -> None:
    for command in (build, versions, promote, rollback):
        cli.command()(command)


def build(
    files: OptionalFiles = None,
    config: Config = DEFAULT_CONFIG,
    mapping: Mapping = [],
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
    with bars(console) as report:
        start = time.perf_counter()
        if from_live:
            manifest, bad_rows = build_live(config, report, address, then_promote=promote), 0
        else:
            manifest, bad_rows = build_files(files or [], config, mapping_of(mapping), report, console, address)
            if promote:
                promoted(config, manifest.version)
        seconds = round(time.perf_counter() - start, 1)
    if json:
        tuned = {"tuned": tuned_of(manifest)}
        print_json({**_summary(manifest), **tuned, "bad_rows": bad_rows, "seconds": seconds, "promoted": promote})
    else:
        recall = "-" if manifest.recall_at_10 is None else f"{manifest.recall_at_10:.4f}"
        console.print(
            f"version {manifest.version}: {manifest.items} items in {len(manifest.shards)} shards, "
            f"recall@10 {recall} against exact search, {bad_rows} bad rows, {seconds} s"
        )
        say_tuned(tuned_of(manifest), console)
        console.print("serving it" if promote else f"serve it with: recsys promote {manifest.version}")


def versions(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the published versions, named by their time in UTC, which one is served, and how each compared with the one
    before it.
    """
    store = store_of(config)
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


def promote(version: str, config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Serve a version from now on; a running platform switches live, without a failed request."""
    _served(promoted(config, version), json=json)


def rollback(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Serve again the version that was served before."""
    _served(_with_log(config, promotion.rollback), json=json)


def store_of(config: Path) -> VersionStore:
    return VersionStore.of(platform_of(own_config(config)))


def promoted(config: Path, version: str, instead_of: str | None = None) -> Manifest:
    """Promote, and drop versions that are kept no longer and what only they needed of the log. `instead_of`: see
    `promotion.promote`.
    """
    store_of(config).manifest(version)  # a version that does not exist is told before anything is started

    async def pruned(store: VersionStore, platform: Platform, redis: Redis | None) -> Manifest:
        manifest = await promotion.promote(store, version, platform, redis, instead_of)
        if redis is not None:
            with contextlib.suppress(RedisError, OSError):  # it is promoted all the same
                await prune(store, redis, platform.keep_versions)
        return manifest

    return _with_log(config, pruned)


def _with_log(
    config: Path, switch: Callable[[VersionStore, Platform, Redis | None], Coroutine[Any, Any, Manifest]]
) -> Manifest:
    """Switch with Redis at hand where there is a log to look at; the embedded Valkey is started for it.

    Raises Unavailable when Redis does not answer.
    """
    known = own_config(config)
    platform, store = platform_of(known), store_of(config)
    runtime = Runtime(platform.home())

    async def switched(url: str | None) -> Manifest:
        if url is None:
            return await switch(store, platform, None)
        async with connect(url, timeout_s=_PATIENCE_S, prefix=platform.redis_prefix) as redis:
            try:
                return await switch(store, platform, redis)
            except RedisError as error:
                raise Unavailable(
                    f"Redis does not answer, and without it nobody knows whether the version's log is there: {error}; "
                    "the served version stays"
                ) from error

    if not (platform.home() / "valkey").exists() and runtime.running_redis(known) is None:
        return asyncio.run(switched(None))  # nothing was ever written
    with runtime.redis(known) as url:
        return asyncio.run(switched(url))


def build_live(config: Path, report: Progress, address: str | None = None, *, then_promote: bool) -> Manifest:
    """Compact what is served and its log into a new version; starts the embedded Valkey for it where none runs."""
    known = own_config(config)
    platform = platform_of(known)
    with Runtime(platform.home()).redis(known) as url:
        indexer = indexer_of(platform, address)
        return asyncio.run(compact(platform, tuning_of(known, 0), url, report, indexer, then_promote=then_promote))


def build_files(
    files: list[Path],
    config: Path,
    mapping: dict[str, str],
    report: Progress,
    console: Console,
    address: str | None = None,
) -> tuple[Manifest, int]:
    """Read, build and publish; the manifest and the number of rows that could not be read."""
    known = own_config(config)
    check_tools(platform_of(known))
    names = {field: column for field, column in mapping.items() if field != VECTOR}
    items, bad = read_catalogue(files, known, names, report, console)
    dimension = platform_of(known).encoder.dimension
    given = read_vectors(files, dimension, mapping.get(VECTOR), mapping.get("item_id"))
    return publish(config, items, report, given, address), bad


def publish(
    config: Path, items: list[Item], report: Progress, given: Given | None = None, address: str | None = None
) -> Manifest:
    """`given`: vectors that came with the items; `address`: of a Ray cluster for the shards."""
    build = build_of(config, report)
    build = replace(build, indexer=indexer_of(build.platform, address))
    with build.store.drafts.alone():
        trimmed = asyncio.run(_trimmed(config, build.platform.shards))
        content = file_content(build.store, items, build.platform, build.encoder.fingerprint, trimmed)
        if given is not None:
            content = with_vectors(content, given, build.encoder)
        return build.publish(content, report, learned_so_far(build.store, build.encoder.fingerprint))


async def _trimmed(config: Path, shards: int) -> list[str]:
    """Up to where each shard's log was trimmed; empty where Redis does not run or answer: promoting will tell."""
    known = own_config(config)
    platform, url = platform_of(known), None
    with contextlib.suppress(RuntimeFailure):
        url = Runtime(platform.home()).running_redis(known)
    if url is None:
        return []
    async with connect(url, prefix=platform.redis_prefix) as redis:
        with contextlib.suppress(RedisError, OSError):
            return [await ItemLog(redis).trimmed(shard) for shard in range(shards)]
    return []


def build_of(config: Path, report: Progress) -> Build:
    """What versions are built with; the encoder is loaded when it is needed."""
    known = own_config(config)
    platform, threads = platform_of(known), os.cpu_count() or 1
    return Build(platform, store_of(config), WhenNeeded(platform, threads, report), threads, tuning_of(known, 0))


def indexer_of(platform: Platform, address: str | None) -> Indexer:
    """The Ray cluster at `address`; None: in this process."""
    return write_indexes if address is None else on_ray(platform.home(), address)


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


def _served(manifest: Manifest, *, json: bool) -> None:
    if json:
        print_json(_summary(manifest))
    else:
        out().print(f"serving version {manifest.version} with {manifest.items} items")
