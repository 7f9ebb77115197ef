"""Which version a composer should serve, and which one it asks the shards for: functions of what it has heard.

`promoted` is everywhere the promoted version and those served before it, newest first. `whole` tells of a version
whether each of its shards has a replica that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

Whole = Callable[[str], bool]


def better(promoted: Sequence[str], served: str | None, whole: Whole) -> Sequence[str]:
    """Versions to serve rather than the present one, the best first. `served` None: there is none yet."""
    if served is None or not whole(served):
        return [version for version in promoted if version != served]
    # After a rollback the served version is none of the promoted ones, and the first is what the operator chose.
    return promoted[: promoted.index(served)] if served in promoted else promoted[:1]


def to_ask_for(promoted: Sequence[str], served: str | None, rejected: Collection[str], whole: Whole) -> str | None:
    """The version that shards should load though it is not the promoted one; None: no need.

    Only where the served version is not held by every shard. `rejected`: versions that some replica cannot open.
    """
    if served is not None and whole(served):
        return None
    return next((version for version in promoted if version not in rejected), None)


def most_covered(promoted: Sequence[str], share: Callable[[str], float]) -> list[str]:
    """The versions by the share of their shards that hold them, the largest first; of equals the newest first."""
    return sorted(promoted, key=lambda version: -share(version))
