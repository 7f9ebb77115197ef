"""What a batch is ranked from: the candidates that the shards answer with, and their signals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.config.serving import Serving
from recsys.datatypes import Floats
from recsys.model.profiles import position
from recsys.ranking import known_features
from recsys.ranking.batch_query import Prepared
from recsys.ranking.blending import Measured, blends_alike, scores
from recsys.ranking.relevance import relevant
from recsys.ranking.rescoring import facts, rescored
from recsys.ranking.rules import BatchRules
from recsys.ranking.selection import blend
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import NO_SIGNALS, Moment, measure
from recsys.ranking.tree_ranker import Ranker, features
from recsys.serving.kept_questions import KeptQuestions
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.transport.clock import Clock
from recsys.transport.shard_clients import Shards


class Gathered(msgspec.Struct, frozen=True):
    """What a batch is ranked from; the same in an answer and in training."""

    batch: Sequence[Prepared]
    candidates: CandidateSet
    signals: Floats
    """(n, len(SIGNALS)); (0, len(SIGNALS)): nobody looks at single ones."""
    scores: Floats
    """(n,) the linear blend."""
    missing: tuple[str, ...]
    """Shards that did not answer, and servers of indexes."""
    moment: Moment
    rules: BatchRules
    """Those that hold now."""
    measured: Measured | None = None
    """None: `signals` has them."""

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.moment.now

    @property
    def histories(self) -> Floats:
        """(B,) float32: how many items each request's user has seen."""
        return np.array([len(p.profile.seen) for p in self.batch], np.float32)

    @property
    def sessions(self) -> Floats:
        """(B,) float32: items liked in each user's present session."""
        return np.array([position(p.profile, self.now) for p in self.batch], np.float32)

    def features(self, known: Sequence[str] = ()) -> Floats:
        """What trees rank by, see `ranking/tree_ranker.py`. `known`: what they look at of users and moments."""
        offsets, sources = self.candidates.offsets, self.candidates.sources
        signals = self.signals if self.measured is None else measure(self.candidates, self.moment)
        table = features(offsets, sources, signals, self.scores, self.histories, self.sessions)
        return np.concatenate([table, self._known(known)[self.candidates.requests]], axis=1) if known else table

    def _known(self, names: Sequence[str]) -> Floats:
        """(B, names) float32 of each request's user and moment."""
        if not names:
            return np.zeros((len(self.batch), 0), np.float32)
        values = [known_features.told_apart(p.attributes, p.query.context) for p in self.batch]
        return known_features.table(names, values)

    def rescored(self, ranker: Ranker, enabled: npt.NDArray[np.bool_]) -> Floats:
        """See `Ranker.rescored`."""
        blends = None if self.measured is None else blends_alike()
        if blends is None or self.measured is None:
            return ranker.rescored(self.candidates, self.features(ranker.known), self.scores, enabled)
        counts = [(len(p.profile.seen), position(p.profile, self.now)) for p in self.batch]
        own = facts(np.array(counts, np.float32), self._known(ranker.known))
        who = [(id(p.profile), id(p.scenario)) for p in self.batch]
        return rescored(self.measured, self.scores, ranker, enabled, own, blends, who)


class ShardsAnswer(msgspec.Struct, frozen=True):
    """The answer of all shards to a batch."""

    candidates: CandidateSet | None
    """None: no shard answered."""
    missing: tuple[str, ...]
    """Shards that did not answer, and servers of indexes."""
    moment: Moment
    """At which they were asked."""
    rules: BatchRules
    """Those that held then."""


class Asking:
    """A call of the shards. `left`: whether the question has left; if not, it leaves when `answer` is first awaited."""

    __slots__ = ("answer", "left")

    def __init__(self, answer: Callable[[], Coroutine[Any, Any, ShardsAnswer]], *, left: bool) -> None:
        """`answer` is called once at the most."""
        self.answer, self.left = answer, left


class Gathering:
    """`now` gives Unix seconds."""

    def __init__(self, shards: Shards, settings: Serving, now: Callable[[], float]) -> None:
        self._shards = shards
        self._settings = settings
        self._now = now
        self._questions = KeptQuestions()

    async def ask(self, batch: Sequence[Prepared], serve: Serve, clock: Clock) -> ShardsAnswer:
        """One call a shard, within what is left on the clock."""
        query, moment, rules = self._question(batch, serve, clock)
        return ShardsAnswer(*await self._shards.search(query, clock), moment, rules)

    def begin(self, batch: Sequence[Prepared], serve: Serve, clock: Clock) -> Asking:
        """The same, where the question leaves at once if it can."""
        query, moment, rules = self._question(batch, serve, clock)
        begun = self._shards.begin(query, clock)

        async def answer() -> ShardsAnswer:
            candidates, missing = await (self._shards.search(query, clock) if begun is None else begun())
            return ShardsAnswer(candidates, missing, moment, rules)

        return Asking(answer, left=begun is not None)

    def _question(self, batch: Sequence[Prepared], serve: Serve, clock: Clock) -> tuple[ShardQuery, Moment, BatchRules]:
        settings = self._settings
        moment = Moment(self._now(), settings.trend_half_life_s, settings.recency_half_life_s)
        rules = BatchRules.of([p.rules for p in batch], moment.now)
        spread = self._shards.router(serve.version).spread
        return self._questions.of(serve, batch, moment, rules, max(clock.left(), 0.0), spread), moment, rules


def measured(
    answer: ShardsAnswer,
    batch: Sequence[Prepared],
    wanted: Collection[str] | None,
    weights: Sequence[Mapping[str, float]],
    *,
    trees: bool = False,
) -> Gathered | None:
    """Measure the candidates; None where no shard answered.

    `wanted`: names of signals; None: the scores alone are. `weights`: of each request's blend; empty: none is blended.
    `trees`: whether trees are going to look at the signals.
    """
    if answer.candidates is None:
        return None
    candidates, moment = relevant(answer.candidates, batch), answer.moment
    if wanted is None:
        own = Measured(candidates, moment, every=trees)
        blended = scores(own, weights)
        return Gathered(batch, candidates, NO_SIGNALS, blended, answer.missing, moment, answer.rules, own)
    signals = measure(candidates, moment, wanted)
    blended = blend(signals, candidates.requests, weights) if weights else np.zeros(len(signals), np.float32)
    return Gathered(batch, candidates, signals, blended, answer.missing, moment, answer.rules)
