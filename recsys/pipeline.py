"""The way of a batch of requests: profiles, candidates, ranking, slates. Read this first."""

from __future__ import annotations

import time
from collections.abc import Sequence

from recsys.assembly import Prepared, recommendations, shard_query
from recsys.candidates import CandidateSet
from recsys.config import Serving
from recsys.datatypes import RecQuery, Slate, unknown_user
from recsys.errors import BadInput, NotFound, Outdated, Unavailable
from recsys.profile_loading import ProfileLoader
from recsys.ranking import blend, top
from recsys.serving import Clock, Serve
from recsys.shards import Shards
from recsys.signals import Moment, measure


class Recommender:
    def __init__(self, shards: Shards, profiles: ProfileLoader, settings: Serving) -> None:
        self._shards = shards
        self._profiles = profiles
        self.settings = settings

    async def recommend_many(self, queries: Sequence[RecQuery], serve: Serve) -> list[Slate | Exception]:
        """A slate for each query, or the error that is its own. One Redis trip and one call a shard for them all.

        Two more trips are made only where they are needed: for a user whose cached profile is stale, and for the vector
        of an item whose neighbours are wanted.
        """
        clock = Clock(self.settings.budget_s)
        prepared = await self._prepare(queries, serve, clock)
        batch = [p for p in prepared if isinstance(p, Prepared)]
        slates = iter(await self._answer(batch, serve, clock) if batch else [])
        return [next(slates) if isinstance(p, Prepared) else p for p in prepared]

    async def _prepare(self, queries: Sequence[RecQuery], serve: Serve, clock: Clock) -> list[Prepared | Exception]:
        users = dict.fromkeys(q.user_id for q in queries if q.user_id is not None)
        liked = [q.like_item for q in queries if q.like_item is not None]
        profiles, vectors, missing = await self._profiles.load(list(users), liked, serve, clock.left())
        clock.lap("profiles")
        unknown = unknown_user(serve.dimension)
        prepared: list[Prepared | Exception] = []
        for query in queries:
            scenario = self.settings.scenarios.get(query.scenario)
            vector = query.vector if query.like_item is None else vectors.get(query.like_item)
            lacks = tuple(m for m in missing if query.user_id is not None or m != "profiles")
            if scenario is None:
                known = ", ".join(sorted(self.settings.scenarios))
                prepared.append(BadInput(f"scenario: {query.scenario!r} is not one of {known}", field="scenario"))
            elif query.encoder is not None and query.encoder != serve.fingerprint:
                prepared.append(Outdated("the version changed while the text was encoded; try again"))
            elif query.like_item is not None and vector is None:
                prepared.append(
                    Unavailable("the shard that may hold the item does not answer; try again")
                    if any(m.startswith("shard") for m in missing)
                    else NotFound(f"item_id: there is no item {query.like_item!r}", field="item_id")
                )
            else:
                profile = profiles.get(query.user_id, unknown) if query.user_id is not None else unknown
                prepared.append(Prepared(query, scenario, profile, vector, lacks))
        return prepared

    async def _answer(self, batch: Sequence[Prepared], serve: Serve, clock: Clock) -> list[Slate | Exception]:
        moment = Moment(time.time(), self.settings.trend_half_life_s, self.settings.recency_half_life_s)
        asked = shard_query(serve.version, batch, serve.dimension, moment)
        candidates, missing = await self._shards.search(asked, clock.left())
        clock.lap("candidates")
        if candidates is None:
            return [Unavailable("no shard answered in time; try again") for _ in batch]
        signals = measure(candidates, moment)
        scores = blend(signals, candidates.requests, [p.scenario.weights for p in batch])
        chosen = top(candidates, scores, [p.query.k for p in batch], [p.diversity for p in batch])
        made = recommendations(batch, candidates, signals, scores, chosen)
        slates: list[Slate | Exception] = []
        for b, (prepared, items) in enumerate(zip(batch, made, strict=True)):
            known = _names(candidates, b) if prepared.query.items else set()
            slates.append(
                Slate(
                    items=items,
                    index_version=serve.version,
                    model_version=serve.model,
                    degraded=tuple(dict.fromkeys((*prepared.missing, *missing))),
                    unknown_items=tuple(i for i in prepared.query.items or () if i not in known),
                    stages=clock.laps,
                )
            )
        clock.lap("ranking")
        return slates


def _names(candidates: CandidateSet, request: int) -> set[str]:
    start, end = candidates.offsets[request], candidates.offsets[request + 1]
    return {candidates.ids[i] for i in range(start, end)}
