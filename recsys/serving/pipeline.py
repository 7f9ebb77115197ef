"""The path of a batch of requests: profiles, candidates, ranking, slates. Read this first."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from msgspec import structs

from recsys.answers import Batch, Recommendation, SearchPlan, Slate
from recsys.config.serving import Serving
from recsys.datatypes import Floats, RecQuery
from recsys.errors import Unavailable
from recsys.ranking.batch_query import Prepared, grouped
from recsys.ranking.explanations import Explanations
from recsys.ranking.rules import with_effects
from recsys.ranking.selection import top
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import SIGNALS
from recsys.ranking.slate_notes import notes, probes, reasons
from recsys.ranking.slates import recommendations
from recsys.serving.foresight import Foresight
from recsys.serving.gathering import Gathered, Gathering, measured
from recsys.serving.preparation import Preparation
from recsys.serving.profile_loading import Profiles
from recsys.serving.request_facts import RequestFacts
from recsys.serving.slate_filling import fill, rest_of
from recsys.shard.candidates import CandidateSet
from recsys.shard.plans import named
from recsys.transport.clock import Clock
from recsys.transport.shard_clients import Shards

_PATIENCE_S = 10.0
"""Budget of a batch of answers that explain another one."""


class Recommender:
    """`now` gives Unix seconds; an evaluation looks at the past with it. `facts`: what is
    known beside profiles; None: nothing.
    """

    def __init__(
        self,
        shards: Shards,
        profiles: Profiles,
        settings: Serving,
        now: Callable[[], float] = time.time,
        facts: RequestFacts | None = None,
    ) -> None:
        facts = facts or RequestFacts()
        self._shards = shards
        self._preparation = Preparation(profiles, facts, settings)
        self._gathering = Gathering(shards, settings, now)
        self._rotation, self._segments = facts.rotation, facts.segments
        self.settings = settings
        self._falls_back = any(scenario.fallback is not None for scenario in settings.scenarios.values())

    async def recommend_many(self, queries: Sequence[RecQuery], serve: Serve) -> list[Slate | Exception]:
        """A slate for each query, or the query's own error. All queries share one Redis trip and one call a shard.

        Two more trips are made only if they are needed: for a user whose cached profile is stale, and for the vector of
        an item whose neighbours are wanted.

        The budget counts from the oldest query, but at least half of it is left: a query that came late, after a slow
        encoder or a long way, takes no answers from the others of its batch.
        """
        budget_s = self.settings.budget_s
        oldest = min((q.since for q in queries if q.since is not None), default=None)
        clock = Clock(budget_s, None if oldest is None else max(oldest, time.monotonic() - budget_s / 2))
        slates = await self._recommend(queries, serve, clock)
        if not self._falls_back:
            return slates
        scenarios = [self.settings.scenarios.get(query.scenario) for query in queries]
        lacking = {
            n: more for n, one in enumerate(zip(queries, slates, scenarios, strict=True)) if (more := rest_of(*one))
        }
        return fill(
            slates, dict(zip(lacking, await self._recommend(list(lacking.values()), serve, clock), strict=True))
        )

    async def _recommend(self, queries: Sequence[RecQuery], serve: Serve, clock: Clock) -> list[Slate | Exception]:
        foresight = await Foresight.of(queries, serve, clock, self._preparation, self._gathering)
        try:
            prepared = await self._preparation.of(queries, serve, clock)
            batch = [p for p in prepared if isinstance(p, Prepared)]
            slates = iter(await self._answer(batch, serve, clock, foresight) if batch else [])
        finally:
            if foresight is not None:
                foresight.end()
        return [next(slates) if isinstance(p, Prepared) else p for p in prepared]

    async def _answer(
        self, batch: Sequence[Prepared], serve: Serve, clock: Clock, foresight: Foresight | None = None
    ) -> list[Slate | Exception]:
        # Explanations look at every signal, the blend at those that have a weight.
        every = any(p.query.explain for p in batch)
        weights = [p.weights(serve) for p in batch]
        gathered = await self._gather(batch, serve, clock, SIGNALS.keys() if every else None, weights, foresight)
        if gathered is None:
            return [Unavailable("no shard answered in time; try again") for _ in batch]
        candidates, signals, missing = gathered.candidates, gathered.signals, gathered.missing
        ranked = _ranked(gathered, serve)
        effects = gathered.rules.effects(candidates, gathered.now)
        if self._rotation is not None:
            effects += self._rotation.effects(batch, candidates, gathered.now)
        if self._segments is not None:
            effects += self._segments.effects(batch, candidates)
        scores = with_effects(ranked, effects)
        placings = gathered.rules.placings(effects)
        chosen = top(candidates, scores, [p.controls for p in batch], grouped(batch), placings)
        full = serve.ranker is not None and any(p.query.explain == "full" for p in batch)
        explanations = Explanations(
            signals, weights, gathered.scores, ranked, effects, _shares(gathered, serve) if full else None
        )
        lists = recommendations(batch, candidates, scores, chosen, explanations)
        why = {} if all(lists) else await self._why_empty(batch, lists, missing, serve, clock)
        statistics = Batch(clock.began, len(batch), clock.calls)
        slates: list[Slate | Exception] = []
        for b, (prepared, items) in enumerate(zip(batch, lists, strict=True)):
            present = _names(candidates, b) if prepared.query.items else set()
            slates.append(
                Slate(
                    items=items,
                    index_version=serve.version,
                    model_version=serve.model,
                    degraded=self._degraded(serve, prepared, missing),
                    unknown_items=tuple(i for i in prepared.query.items or () if i not in present),
                    notes=why.get(b) or notes(prepared, items),
                    stages=clock.laps,
                    batch=statistics,
                    search=_search_plan(candidates, b) if prepared.query.explain else None,
                )
            )
        if self._rotation is not None:
            self._rotation.note(batch, slates, gathered.now)
        clock.lap("ranking")
        return slates

    def _degraded(self, serve: Serve, prepared: Prepared, missing: Sequence[str]) -> tuple[str, ...]:
        """What is missing in an answer. `missing`: what is missing in the answers of the shards to the batch."""
        if not missing and not prepared.missing:  # nearly always
            return ()
        concerning = self._shards.concerning(serve.version, prepared.filter, missing)
        return tuple(dict.fromkeys((*prepared.missing, *concerning)))

    async def _why_empty(
        self,
        batch: Sequence[Prepared],
        lists: Sequence[Sequence[Recommendation]],
        missing: Sequence[str],
        serve: Serve,
        clock: Clock,
    ) -> dict[int, tuple[str, ...]]:
        """Notes of the empty slates of a batch, by place in it. If several restrictions come together, the shards are
        asked once more, with more and more of them.
        """
        empty = [b for b, items in enumerate(lists) if not items and batch[b].query.items is None]
        empty = [b for b in empty if not missing and not batch[b].missing]
        if not empty:
            return {}
        tried = {b: probes(batch[b]) for b in empty}
        requests = [probe for b in empty for probe in tried[b]]
        gathered = await self._gather(requests, serve, clock, (), []) if requests else None
        if requests and gathered is None:
            return {}
        successes = iter([] if gathered is None else (np.diff(gathered.candidates.offsets) > 0).tolist())
        return {b: reasons(batch[b], [next(successes) for _ in tried[b]]) for b in empty}

    async def prepare(self, queries: Sequence[RecQuery], serve: Serve) -> list[Prepared | Exception]:
        """Each query with what belongs to it, for `answer` and `candidates`."""
        return await self._preparation.of(queries, serve, Clock(self.settings.budget_s))

    async def answer(self, batch: Sequence[Prepared], serve: Serve) -> list[Slate | Exception]:
        """The slates of queries that were prepared, or made of ones that were; they are noted nowhere."""
        unnoted = [structs.replace(p, query=structs.replace(p.query, noted=False)) for p in batch]
        return await self._answer(unnoted, serve, Clock(_PATIENCE_S))

    async def candidates(self, batch: Sequence[Prepared], serve: Serve) -> Gathered | None:
        """What these queries are ranked from; None when no shard answered."""
        return await self._gather(batch, serve, Clock(_PATIENCE_S), SIGNALS.keys(), [p.weights(serve) for p in batch])

    async def gather(self, queries: Sequence[RecQuery], serve: Serve) -> Gathered | None:
        """Candidates and signals of queries that are valid; None when no shard answered."""
        clock = Clock(self.settings.budget_s)
        prepared = await self._preparation.of(queries, serve, clock)
        batch = [p for p in prepared if isinstance(p, Prepared)]
        return await self._gather(batch, serve, clock, SIGNALS.keys(), [p.weights(serve) for p in batch])

    async def _gather(
        self,
        batch: Sequence[Prepared],
        serve: Serve,
        clock: Clock,
        wanted: Collection[str] | None,
        weights: Sequence[Mapping[str, float]],
        foresight: Foresight | None = None,
    ) -> Gathered | None:
        """See `measured`. `foresight`: a search that may have been the right one; None: there is none."""
        answer = None if foresight is None else await foresight.answer(batch)
        if answer is None:
            answer = await self._gathering.ask(batch, serve, clock)
        clock.lap("candidates")
        return measured(answer, batch, wanted, weights, trees=serve.ranker is not None)


def _ranked(gathered: Gathered, serve: Serve) -> Floats:
    """(n,) scores: of the trees where there are some and the scenario asks for them, else the blend."""
    by_trees = [p.scenario.learned and p.query.vector is None and p.query.like_item is None for p in gathered.batch]
    if serve.ranker is None or not any(by_trees):
        return gathered.scores
    return gathered.rescored(serve.ranker, np.array(by_trees))


def _shares(gathered: Gathered, serve: Serve) -> Callable[[int], Mapping[str, float]]:
    """What the trees' features add to a candidate."""
    table = gathered.features(() if serve.ranker is None else serve.ranker.known)

    def shares(row: int) -> Mapping[str, float]:
        assert serve.ranker is not None
        return serve.ranker.shares(table[row : row + 1])[0]

    return shares


def _search_plan(candidates: CandidateSet, request: int) -> SearchPlan | None:
    searched = candidates.searched.get(request)
    return None if searched is None else SearchPlan(named(searched.plans), searched.matches)


def _names(candidates: CandidateSet, request: int) -> set[str]:
    start, end = candidates.offsets[request], candidates.offsets[request + 1]
    return {candidates.ids[i] for i in range(start, end)}
