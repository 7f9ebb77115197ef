"""What a build chose for recall, as commands say it."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from recsys.autotune import described
from recsys.versions import Manifest


def tuned_of(manifest: Manifest) -> dict[str, Any] | None:
    """For scripts; None: the version is empty, or of before this was noted."""
    if manifest.tuned is None:
        return None
    return {**manifest.tuned.model_dump(), "index": manifest.index.model_dump(), "self_lookup": manifest.self_lookup}


def say_tuned(manifest: Manifest, console: Console) -> None:
    """Recall by kind of query and what it costs; a line for each try that was not enough."""
    tuned = manifest.tuned
    if tuned is None:
        return
    for tried in tuned.tried[:-1]:
        console.print(f"not enough: {tried}", style="yellow", markup=False)
    kinds = ", ".join(f"{kind} {share:.4f}" for kind, share in tuned.recall.items())
    balance = "" if tuned.balance == 1.0 else f", balance {tuned.balance:g}"
    ef = "" if manifest.index.engine == "flat" else f", ef_search {tuned.ef_search}"
    console.print(
        f"recall@10 by kind: {kinds}; tastes of {tuned.tastes_of}; {described(manifest.index)}{ef}{balance}: "
        f"{tuned.walk_us:g} µs a query, {tuned.seconds} s to index",
        markup=False,
    )
