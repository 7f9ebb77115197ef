"""The report of the settings that a build chose, and the warning about tied events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from recsys.config.index import IndexSpec
from recsys.state.tie_breaking import decided_by_ties


def say_tuned(tuned: Mapping[str, Any] | None, console: Console) -> None:
    """Print recall by kind of query and its cost, after a line for each insufficient try. `tuned`: see `tuned_of`."""
    if tuned is None:
        return
    for tried in tuned["tried"][:-1]:
        console.print(f"not enough: {tried}", style="yellow", markup=False)
    kinds = ", ".join(f"{kind} {share:.4f}" for kind, share in tuned["recall"].items())
    spec = IndexSpec.model_validate(tuned["index"])
    how = spec.words if spec.exact else f"{spec.words}, ef_search {tuned['ef_search']}, balance {tuned['balance']:g}"
    console.print(f"recall@10 of {kinds} (tastes of {tuned['tastes_of']})", markup=False)
    console.print(f"  by {how}: {tuned['walk_us']:g} µs a query, {tuned['seconds']} s to index", markup=False)


def say_ties(share: float, console: Console) -> None:
    """Print a warning when ties are frequent. `share`: see `Interactions.tied_last`."""
    if (warning := decided_by_ties(share)) is not None:
        console.print(warning, style="yellow", markup=False, soft_wrap=True)
