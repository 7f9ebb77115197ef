"""recsys build, versions, promote, rollback."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.batch.index_client import on_ray
from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    AllowShrink,
    ConfigFile,
    DryRun,
    Json,
    OptionalFiles,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.promoting import Wait, next_step, promoted, running_redis, switched, wait_until_served
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.cli.tuning_report import say_tuned
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.config.canary import Canary
from recsys.errors import BadInput, RuntimeFailure
from recsys.jobs import promote as promotion
from recsys.jobs.build_files import build_files
from recsys.jobs.build_files import foreseen as planned_files
from recsys.jobs.canary import send_out
from recsys.jobs.compact import compact
from recsys.jobs.compact import foreseen as planned_live
from recsys.reading.dialect import ReadOptions
from recsys.shard.snapshot import write_indexes
from recsys.versions.build import Indexer
from recsys.versions.manifest import Manifest, tuned_of
from recsys.versions.planned import PlannedBuild
from recsys.versions.store import VersionStore


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
    runtime, indexer = Runtime.of(serve_config), _indexer(serve_config, address)
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
        print_json({**_summary(manifest), **more, "promoted": promote, "serving": serving})
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


def versions(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the published versions, named by their time in UTC, which one is served, and how each compared with the one
    before it.
    """
    store = VersionStore.of(read_config(config).platform)
    current = store.current()
    rows: list[dict[str, Any]] = [
        {**_summary(m), "current": m.version == current, "canary": _verdict(store, m.version)} for m in store.versions()
    ]
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
    console = Console()
    console.print(table)
    for row in rows:
        if row["canary"] is not None and row["canary"]["outcome"] == "rolled_back":
            told = row["canary"]
            console.print(
                f"{row['version']} was taken back at {told['share']:.0%} of the users: {told['reason']}",
                markup=False,
                soft_wrap=True,
            )


def _verdict(store: VersionStore, version: str) -> dict[str, Any] | None:
    """How a version did that went out step by step; None: it did not."""
    verdict = store.canary(version)
    return None if verdict is None else verdict.model_dump()


def promote(
    version: str,
    config: ConfigFile = DEFAULT_CONFIG,
    canary: Annotated[
        str | None,
        typer.Option(
            help="Shares of the users that get it first, such as 5% or 5%,25%,50%: to all once no guardrail is touched."
        ),
    ] = None,
    allow_shrink: AllowShrink = False,
    dry_run: DryRun = False,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Serve a version from now on; a running platform switches live, without a failed request.

    Returns once all of the platform that runs serves it.
    """
    serve_config = read_config(config)
    if canary is not None:
        _send_out(serve_config, version, canary, allow_shrink=allow_shrink, dry_run=dry_run, json=json)
    elif dry_run:
        _switch(serve_config, version, allow_shrink=allow_shrink, json=json)
    else:
        _tell_promoted(
            config, serve_config, promoted(serve_config, version, allow_shrink=allow_shrink), wait=wait, json=json
        )


def rollback(
    config: ConfigFile = DEFAULT_CONFIG, dry_run: DryRun = False, wait: Wait = True, json: Json = False
) -> None:
    """Serve again the version that was served before. Returns as `recsys promote` does."""
    serve_config = read_config(config)
    if dry_run:
        _switch(serve_config, None, allow_shrink=True, json=json)
        return
    with Runtime.of(serve_config).redis_if_used(serve_config) as url:
        manifest = asyncio.run(promotion.rollback(serve_config.platform, url))
    _tell_promoted(config, serve_config, manifest, wait=wait, json=json)


def _send_out(config: ServeConfig, version: str, shares: str, *, allow_shrink: bool, dry_run: bool, json: bool) -> None:
    """A version to a part of the users, or what that would do."""
    first = _shares(shares)
    url = running_redis(config)
    if url is None:
        raise RuntimeFailure("--canary needs the platform to run; start it with: recsys up")
    settings = config.serving.canary
    work = send_out(version, config.platform, url, settings, first, allow_shrink=allow_shrink, dry_run=dry_run)
    manifest, record = asyncio.run(work)
    if json:
        steps = {"steps": list(record.steps), "step_s": record.step_s, "base": record.base}
        print_json({**({"dry_run": True} if dry_run else {}), **_summary(manifest), **steps})
        return
    steps_told = ", ".join(f"{share:.0%}" for share in record.steps)
    would = "would go" if dry_run else "goes"
    out().print(
        f"version {version} {would} to {steps_told} of the users, {record.step_s:.0f} s each at the least, then to "
        "all; `recsys versions` says how it did",
        markup=False,
        soft_wrap=True,
    )


def _shares(text: str) -> tuple[float, ...]:
    """Raises BadInput."""
    try:
        shares = tuple(float(part.strip().removesuffix("%")) / 100 for part in text.split(","))
        return Canary(steps=shares).steps
    except ValueError:
        raise BadInput(
            f"canary: {text!r} is no list of rising shares under 100 %, such as 5%,25%,50%", field="canary"
        ) from None


def _switch(config: ServeConfig, version: str | None, *, allow_shrink: bool, json: bool) -> None:
    """What a promotion, or with `version` None a rollback, would do."""
    with Runtime.of(config).redis_if_used(config) as url:
        switch = asyncio.run(promotion.foreseen(version, config.platform, url, allow_shrink=allow_shrink))
    manifest = switch.manifest
    if json:
        print_json({"dry_run": True, **_summary(manifest), "served": switch.before, "removed": list(switch.gone)})
        return
    gone = f", and remove {', '.join(switch.gone)}" if switch.gone else ""
    out().print(
        f"would serve {manifest.version} with {manifest.items} items instead of {switch.before or 'nothing'}{gone}. "
        "Nothing was changed.",
        soft_wrap=True,
    )


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


def _tell_promoted(file: Path, config: ServeConfig, manifest: Manifest, *, wait: bool, json: bool) -> None:
    """Once it is served, where that is to be waited for."""
    console = out(quiet=json)
    serving = wait_until_served(config, manifest.version, console, wait=wait)
    if json:
        print_json({**_summary(manifest), "serving": serving})
    else:
        console.print(switched(file, manifest, serving=serving, wait=wait), markup=False, soft_wrap=True)
