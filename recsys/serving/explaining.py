"""Answers that are explained in full: what each item is there for, and why others are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from recsys.answers import Slate
from recsys.datatypes import Interaction, RecQuery
from recsys.model.taste import Taste
from recsys.ranking.served_version import Serve
from recsys.serving.evidence import EvidenceFinder
from recsys.serving.left_out import LeftOut, WhyNot
from recsys.serving.pipeline import Recommender
from recsys.transport.shard_clients import Shards


class Explainer:
    """`history` gives a user's events, oldest first."""

    def __init__(
        self,
        recommender: Recommender,
        shards: Shards,
        taste: Taste,
        history: Callable[[str], Awaitable[list[Interaction]]],
    ) -> None:
        self._recommender = recommender
        self._evidence = EvidenceFinder(recommender, shards, taste)
        self._left_out = LeftOut(recommender, shards)
        self._history = history

    async def explain(
        self, query: RecQuery, slate: Slate, why_not: Sequence[str], serve: Serve
    ) -> tuple[Slate, list[WhyNot]]:
        """The slate that answers the query with evidence, where it asks for everything, and why items are not in it."""
        [prepared] = await self._recommender.prepare([query], serve)
        if isinstance(prepared, Exception):
            raise prepared
        if query.explain == "full":
            history = [] if query.user_id is None else await self._history(query.user_id)
            slate = await self._evidence.with_evidence(slate, prepared, history, serve)
        return slate, await self._left_out.why(why_not, prepared, slate, serve) if why_not else []
