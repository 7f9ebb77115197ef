"""recsys build."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.batch.index_client import indexer_at
from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    AllowShrink,
    ConfigFile,
    DryRun,
    IndexedAt,
    Json,
    OptionalFiles,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.promoting import Wait, next_step, promoted, running_redis, summary, wait_until_served
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_tuned
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.jobs.build_files import build_files
from recsys.jobs.build_files import foreseen as planned_files
from recsys.jobs.compact import compact
from recsys.jobs.compact import foreseen as planned_live
from recsys.reading.dialect import ReadOptions
from recsys.versions.manifest import tuned_of
from recsys.versions.planned import PlannedBuild


def add_to(cli: typer.Typer) -> None:
    cli.command()(reads_files(build))


def build(
    files: OptionalFiles = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    from_live: Annotated[
        bool, typer.Option("--from-live", help="Of what is served now and its log, instead of files.")
    ] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Serve the new version as soon as it is built.")] = False,
    address: IndexedAt = None,
    allow_bad: AllowBad = None,
    allow_shrink: AllowShrink = False,
    wait: Wait = True,
    dry_run: DryRun = False,
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
    serve_config, start = read_config(config), time.perf_counter()
    left_out = LeftOut(console, allow_bad, *([] if from_live else ["items"]))
    if dry_run:
        planned = _planned(
            serve_config, files or [], options, left_out, promote=promote, allow_shrink=allow_shrink, json=json
        )
        _show_planned(planned, left_out, console, promote=promote, json=json)
        left_out.end()
        return
    runtime, indexer = Runtime.of(serve_config), indexer_at(serve_config.platform.home(), address)
    shrinks = allow_shrink or not promote
    with left_out.reported(json=json):
        with bars(console) as report:
            if from_live:
                with runtime.redis(serve_config) as url:
                    work = compact(serve_config, url, report, indexer, then_promote=promote, allow_shrink=allow_shrink)
                    manifest = asyncio.run(work)
            else:
                running = running_redis(serve_config)
                given = (files or [], serve_config, options, report, left_out["items"])
                manifest = build_files(*given, redis_url=running, indexer=indexer, allow_shrink=shrinks)
                if promote:
                    promoted(serve_config, manifest.version, allow_shrink=allow_shrink)
        serving = promote and wait_until_served(serve_config, manifest.version, console, wait=wait)
    seconds = round(time.perf_counter() - start, 1)
    left_out.say()
    if json:
        more = {"tuned": tuned_of(manifest), **left_out.as_json(), "seconds": seconds}
        print_json({**summary(manifest), **more, "promoted": promote, "serving": serving})
    else:
        recall = "-" if manifest.recall_at_10 is None else f"{manifest.recall_at_10:.4f}"
        console.print(
            f"version {manifest.version}: {manifest.items} items in {len(manifest.shards)} shards, "
            f"recall@10 {recall} against exact search, {left_out.bad_rows} bad rows, {seconds} s",
            soft_wrap=True,
        )
        say_tuned(tuned_of(manifest), console)
        step = next_step(config, manifest.version, promote=promote, serving=serving, wait=wait)
        console.print(step, markup=False, soft_wrap=True)
    left_out.end()


def _planned(
    config: ServeConfig,
    files: list[Path],
    options: ReadOptions,
    left_out: LeftOut,
    *,
    promote: bool,
    allow_shrink: bool,
    json: bool,
) -> PlannedBuild:
    """`files` empty: of what is live."""
    with left_out.reported(json=json), bars(out(quiet=json)) as report:
        if files:
            shrinks = allow_shrink or not promote
            return planned_files(files, config, options, report, left_out["items"], allow_shrink=shrinks)
        with Runtime.of(config).redis(config) as url:
            work = planned_live(config, url, report, then_promote=promote, allow_shrink=allow_shrink)
            return asyncio.run(work)


def _show_planned(planned: PlannedBuild, left_out: LeftOut, console: Console, *, promote: bool, json: bool) -> None:
    left_out.say()
    if json:
        print_json({"dry_run": True, **dataclasses.asdict(planned), **left_out.as_json(), "promoted": promote})
        return
    served = f"{planned.served} with {planned.served_items} items" if planned.served else "nothing"
    console.print(
        f"would build a version of {planned.items} items in {planned.shards} shards, {planned.texts} texts to encode, "
        f"and {'serve it' if promote else 'not serve it'}; {served} is served now. Nothing was changed.",
        soft_wrap=True,
    )
