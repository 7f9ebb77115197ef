"""Which version a composer should serve, and which one it asks the shards for: functions of what it has heard.

`promoted` is everywhere the promoted version and those served before it, newest first; `shards` the number of shards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recsys.state.membership import Group, covered


def better(promoted: Sequence[str], served: str | None, group: Group, shards: int) -> Sequence[str]:
    """Versions to serve rather than the present one, the best first. `served` None: there is none yet."""
    if served is None or covered(group, served, shards) < shards:
        return [version for version in promoted if version != served]
    # After a rollback the served version is none of the promoted ones, and the first is what the operator chose.
    return promoted[: promoted.index(served)] if served in promoted else promoted[:1]


def to_ask_for(
    promoted: Sequence[str], served: str | None, rejected: Collection[str], group: Group, shards: int
) -> str | None:
    """The version that shards should load though it is not the promoted one; None: no need.

    Only where the served version is not held by every shard. `rejected`: versions that some replica cannot open.
    """
    if served is not None and covered(group, served, shards) == shards:
        return None
    return next((version for version in promoted if version not in rejected), None)


def most_covered(promoted: Sequence[str], group: Group, shards: int) -> list[str]:
    """The versions by how many shards hold them, the most first; of equals the newest first."""
    return sorted(promoted, key=lambda version: -covered(group, version, shards))
