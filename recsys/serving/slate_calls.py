"""What the HTTP API asks for slates under one set of settings."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import structs

from recsys.answers import Slate
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.errors import Outdated
from recsys.ranking.variants import with_variants
from recsys.serving.arrangement import Arrangement, Lasting
from recsys.serving.left_out import WhyNot
from recsys.serving.replies import Logged
from recsys.serving.trials import Trial
from recsys.state.vitals import version_label
from recsys.transport.coalescing import Caller, Reply


class SlateCalls:
    """`settings` are those that `parts` were made of."""

    def __init__(self, settings: Serving, lasting: Lasting, parts: Arrangement) -> None:
        self._settings = settings
        self._follower, self._answers, self._vitals = lasting.follower, lasting.answers, lasting.vitals
        self._answering, self._explaining, self._pager = lasting.answering, lasting.explaining, lasting.pager
        self._lanes, self._slates = parts.lanes, parts.lanes.served.slates
        self._trials, self._texts, self._rotation = parts.trials, parts.texts, parts.rotation
        self._explainer, self._recommender = parts.explainer, parts.recommender

    async def recommend(self, query: RecQuery, caller: Caller | None = None) -> Slate:
        """A slate, which is logged where the query has a `request_id`.

        `caller`: who waits, and since when, from which the budget counts; None: one who came at this moment.
        """
        trial = self._trials.get(query.scenario)
        if trial is None and self._follower.canary is None:  # nearly always
            slate = await self._slates.submit(query, caller)
        else:
            slate = await self._tried(query, trial, caller or Caller())
        if query.request_id is not None:
            self._answers.add(query, slate)
        return slate

    def answer(self, query: RecQuery, caller: Caller, reply: Reply[Slate]) -> None:
        """Give to `reply` what `recommend` returns or raises. Nearly always no task is needed for that.

        Raises Overloaded where the request has no place.
        """
        if self._trials.get(query.scenario) is None and self._follower.canary is None:
            logged = reply if query.request_id is None else Logged(reply, query, self._answers)
            self._slates.enqueue(query, logged, caller)
        else:
            self._answering.begin(self.recommend(query, caller), reply)

    async def _tried(self, query: RecQuery, trial: Trial | None, caller: Caller) -> Slate:
        """The answer where there is an experiment, or another version for a part of the users."""
        canary = self._follower.canary
        queue = self._lanes.of(query.user_id).slates
        if trial is None:
            slate = await queue.submit(query, caller)
        else:
            slate = await trial.slate(query, lambda one: queue.submit(one, caller), caller)
        if canary is not None and query.request_id is not None and query.user_id is not None:
            took_s = time.monotonic() - caller.since
            self._vitals.note(version_label(slate.index_version), took_s, degraded=bool(slate.degraded))
        return slate

    async def search(self, text: str, query: RecQuery, caller: Caller | None = None) -> Slate:
        """A slate for a text: `query` with the text's vector. Raises Unavailable when no encoder answers."""
        caller = caller or Caller()
        query = structs.replace(query, since=caller.since)
        while True:
            serve = self._lanes.serve_of(query.user_id)
            left_s = self._settings.budget_s - (time.monotonic() - caller.since)
            vector = await self._texts.vector(serve.version, text, caller, left_s)
            try:
                return await self.recommend(structs.replace(query, vector=vector, encoder=serve.fingerprint), caller)
            except Outdated:
                continue  # a version of another encoder took over: its vector space is the one to search

    async def slate(self, query: RecQuery, text: str | None, caller: Caller | None = None) -> Slate:
        """`search` for the text; `recommend` where it is None."""
        return await (self.recommend(query, caller) if text is None else self.search(text, query, caller))

    async def explained(
        self, query: RecQuery, why_not: Sequence[str] = (), text: str | None = None, caller: Caller | None = None
    ) -> tuple[Slate, list[WhyNot]]:
        """A slate with evidence for each item where the query asks for everything, and why other items are not in it.

        The answer is made again many times, one explanation after another, so that other requests get their turn.
        """
        slate = await self.slate(query, text, caller)
        async with self._explaining:
            serve = self._lanes.serve_of(query.user_id)
            if (trial := self._trials.get(query.scenario)) is not None:
                query = trial.as_ranked(query)
            if text is not None:
                vector = await self._texts.vector(serve.version, text, Caller(), self._settings.budget_s)
                query = structs.replace(query, vector=vector, encoder=serve.fingerprint)
            return await self._explainer.explain(query, slate, why_not, serve)

    async def page(self, query: RecQuery, page: str, text: str | None = None, caller: Caller | None = None) -> Slate:
        """A page of a list, see `paging.py`; logged as any other answer. `text`: what is searched for."""
        slate = await self._pager.page(query, text, page, lambda deeper: self.slate(deeper, text, caller))
        if (trial := self._trials.get(query.scenario)) is not None:
            slate = structs.replace(slate, variant=trial.label(query))
        if query.request_id is not None:
            self._answers.add(query, slate)
        return slate

    def given(self, query: RecQuery, slate: Slate) -> None:
        """Log a slate that was put together of what was ranked, and note what it shows."""
        if (trial := self._trials.get(query.scenario)) is not None:
            slate = structs.replace(slate, variant=trial.label(query))
        self._answers.add(query, slate)
        if self._rotation is not None and (scenario := self._settings.scenarios.get(query.scenario)) is not None:
            self._rotation.shown(query, scenario, slate, time.time())

    async def preview(
        self, settings: Serving, queries: Sequence[RecQuery], text: str | None = None
    ) -> list[Slate | Exception]:
        """What the queries would be answered under other settings; nothing is noted. `text`: what all search for."""
        serve, caller = self._follower.serve, Caller()
        if text is not None:
            vector = await self._texts.vector(serve.version, text, caller, self._settings.budget_s)
            queries = [structs.replace(q, vector=vector, encoder=serve.fingerprint) for q in queries]
        return await self._recommender(with_variants(settings)).recommend_many(queries, serve)
