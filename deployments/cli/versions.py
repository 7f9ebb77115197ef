"""recsys versions, promote, rollback."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowShrink,
    ConfigFile,
    DryRun,
    Json,
    out,
    print_json,
)
from deployments.cli.promoting import Wait, promoted, running_redis, summary, switched, wait_until_served
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.config.canary import Canary
from recsys.errors import BadInput, RuntimeFailure
from recsys.jobs import promote as promotion
from recsys.jobs.canary import send_out
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore


def add_to(cli: typer.Typer) -> None:
    for command in (versions, promote, rollback):
        cli.command()(command)


def versions(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the published versions, named by their time in UTC, which one is served, and how each compared with the one
    before it.
    """
    store = VersionStore.of(read_config(config).platform)
    current = store.current()
    rows: list[dict[str, Any]] = [
        {**summary(m), "current": m.version == current, "canary": _verdict(store, m.version)} for m in store.versions()
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
            canary = row["canary"]
            console.print(
                f"{row['version']} was taken back at {canary['share']:.0%} of the users: {canary['reason']}",
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
        print_json({**({"dry_run": True} if dry_run else {}), **summary(manifest), **steps})
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
        print_json({"dry_run": True, **summary(manifest), "served": switch.before, "removed": list(switch.gone)})
        return
    gone = f", and remove {', '.join(switch.gone)}" if switch.gone else ""
    out().print(
        f"would serve {manifest.version} with {manifest.items} items instead of {switch.before or 'nothing'}{gone}. "
        "Nothing was changed.",
        soft_wrap=True,
    )


def _tell_promoted(file: Path, config: ServeConfig, manifest: Manifest, *, wait: bool, json: bool) -> None:
    """Once it is served, where that is to be waited for."""
    console = out(quiet=json)
    serving = wait_until_served(config, manifest.version, console, wait=wait)
    if json:
        print_json({**summary(manifest), "serving": serving})
    else:
        console.print(switched(file, manifest, serving=serving, wait=wait), markup=False, soft_wrap=True)
