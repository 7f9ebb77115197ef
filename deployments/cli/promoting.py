"""Serving a version from a command, and waiting until all that run serve it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.cli.options import typed
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig
from recsys.errors import RuntimeFailure
from recsys.jobs import promote as promotion
from recsys.jobs.switching import until_served
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore

Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait", help="Whether to return only when all that run serve a version that was promoted."
    ),
]
_SERVED_WITHIN_S = 600.0
"""Loading a version of millions of items takes minutes."""


def promoted(
    config: ServeConfig, version: str, instead_of: str | None = None, *, allow_shrink: bool = False
) -> Manifest:
    """See `jobs/promote.py`; the embedded Valkey is started for it where it was ever used and does not run."""
    VersionStore.of(config.platform).manifest(version)  # one that does not exist is told before anything is started
    with Runtime.of(config).redis_if_used(config) as url:
        work = promotion.promote(version, config.platform, url, instead_of, allow_shrink=allow_shrink)
        return asyncio.run(work)


def wait_until_served(config: ServeConfig, version: str, console: Console, *, wait: bool) -> bool:
    """Return True once all of the platform that runs serve the promoted version; False where none runs, or at once
    where `wait` is not set.

    Raises what `until_served` does: VersionError where a replica cannot open it or another one is promoted meanwhile,
    RuntimeFailure after ten minutes.
    """
    url = running_redis(config) if wait else None
    if url is None:
        return False
    store = VersionStore.of(config.platform)
    with console.status(f"until all serve {version}"):
        return asyncio.run(until_served(store, version, config.platform, url, _SERVED_WITHIN_S)) > 0


def next_step(config: Path, version: str, *, promote: bool, serving: bool, wait: bool) -> str:
    """What became of a version that was built, or what to do with it."""
    if not promote:
        return f"serve it with: {typed(config, 'promote', version)}"
    return "serving it" if serving else f"promoted it; {_when_served(config, wait=wait)}"


def switched(config: Path, manifest: Manifest, *, serving: bool, wait: bool) -> str:
    """What became of a version that was promoted by its name."""
    what = f"version {manifest.version} with {manifest.items} items"
    return f"serving {what}" if serving else f"promoted {what}; {_when_served(config, wait=wait)}"


def _when_served(config: Path, *, wait: bool) -> str:
    if wait:
        return f"no platform runs here, start one that serves it with: {typed(config, 'up')}"
    return f"when it is served says: {typed(config, 'status')}"


def running_redis(config: ServeConfig) -> str | None:
    """Where Redis is; None: it does not run, or cannot be reached from here."""
    with contextlib.suppress(RuntimeFailure):
        return Runtime.of(config).running_redis(config)
    return None


def summary(manifest: Manifest) -> dict[str, Any]:
    """What `--json` says of a version."""
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
