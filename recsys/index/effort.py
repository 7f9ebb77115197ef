"""Settings that engines have in common whose searches find more by a larger `ef_search`."""

from __future__ import annotations

from pydantic import Field

from recsys.config.index import IndexSpec
from recsys.index.base import doubled


class EffortSpec(IndexSpec):
    """Of an engine whose recall a build raises by `ef_search` alone. Engines may have other bounds of the limit."""

    ef_search_limit: int = Field(512, ge=1, le=10_000)
    """How far a build may raise the shards' `ef_search` when recall is too low."""

    def ef_searches(self, ef_search: int) -> list[int]:
        """Doubled within `ef_search_limit`."""
        return doubled(ef_search, self.ef_search_limit)

    @property
    def limits(self) -> str:
        return f"index.ef_search_limit ({self.ef_search_limit})"


class SealedSpec(EffortSpec):
    """Of an engine that takes in and gives up nothing once it is built."""

    @property
    def grows(self) -> bool:
        return False

    @property
    def removes(self) -> bool:
        return False
