"""A version served in this process, with real shards, the real `recommend_many`, and histories from memory instead of
Redis. So training and evaluation use the answers that the platform would give.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.data.interactions import Interactions
from recsys.datatypes import AttributeValue, Filter, Floats, Interaction, Item, RecQuery, UserProfile
from recsys.evaluation.metrics import DEPTH, Ints
from recsys.evaluation.splits import Holdout
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.ranking.known_features import NOTHING, Attributes, Known
from recsys.ranking.served_version import Serve
from recsys.serving.gathering import Gathered
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import Loaded
from recsys.serving.request_facts import RequestFacts
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.listing import page
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.state.item_counts import Counts
from recsys.transport.shard_clients import Shards
from recsys.versions.opening import open_serve, open_shard
from recsys.versions.store import VersionStore

_BUDGET_S = 600.0
"""Time budget of a batch: no shard is ever late offline."""


@dataclass(frozen=True, slots=True)
class _Weighted(Taste):
    """Taste for events that have their weight as `value`."""

    def weight(self, event: Interaction) -> float:
        return event.value or 0.0

    def speaks(self, event: Interaction) -> bool:  # noqa: ARG002 - every event counts
        return True


class _Local:
    """A shard in this process."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def search(self, query: ShardQuery) -> CandidateSet:
        return search(self._shard, query)

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:  # noqa: ARG002
        return self._shard.vectors_of(item_ids)

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:  # noqa: ARG002
        return [item for item in map(self._shard.item, item_ids) if item is not None]

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:  # noqa: ARG002
        return page(self._shard, after, limit, given)


class _Histories:
    """Profiles folded from the histories of a holdout. The user ids are case numbers.

    All cases are answered at one moment, so each history is shifted in time from its case's own moment to that.
    """

    def __init__(self, shards: Shards, holdout: Holdout, now: float, settings: Serving) -> None:
        self._shards = shards
        self._histories = holdout.histories
        self._moved = (now - holdout.now).tolist()
        self._taste = _Weighted({}, settings.taste_half_life)
        self._contexts: dict[str, Floats] = {}

    async def load(self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float) -> Loaded:
        names = self._histories.item_ids
        needed = {names[i] for u in user_ids for i in self._histories.of_user(int(u)).tolist()} | {*item_ids}
        vectors, late = await self._shards.vectors(serve.version, needed - self._contexts.keys(), budget_s)
        self._contexts |= vectors
        return Loaded({u: self._profile(int(u), serve) for u in user_ids}, self._contexts, late)

    def remembered(self, user_id: str, serve: Serve) -> UserProfile | None:  # noqa: ARG002
        return None  # nothing here waits for anything

    def _profile(self, case: int, serve: Serve) -> UserProfile:
        of, part = self._histories, slice(*self._histories.offsets[case : case + 2].tolist())
        columns = (of.items[part].tolist(), of.weights[part].tolist(), (of.times[part] + self._moved[case]).tolist())
        events = [
            Interaction(str(n), str(case), of.item_ids[item], "", when, weight)
            for n, (item, weight, when) in enumerate(zip(*columns, strict=True))
        ]
        unknown = serve.space.unknown_user()
        return fold(unknown, events, self._contexts, self._taste, len(events), serve.space) or unknown


class _Users:
    """Attributes of the users of a holdout, by case number."""

    def __init__(self, holdout: Holdout, known: Mapping[str, Attributes]) -> None:
        self._names = holdout.histories.user_ids
        self._known = known

    async def load(self, user_ids: Sequence[str]) -> dict[str, dict[str, AttributeValue]]:
        return {case: dict(self._known.get(self._names[int(case)], {})) for case in user_ids}


class Offline:
    """A version whose shards are loaded once. `popularity`: interactions that give items their likes and trends.
    `known`: what there is beside events.
    """

    def __init__(
        self,
        store: VersionStore,
        version: str,
        popularity: Interactions,
        settings: Serving,
        tuning: ShardTuning,
        known: Known = NOTHING,
    ) -> None:
        self._known = known
        self.serve = open_serve(store, version)
        self._settings = settings.model_copy(update={"budget_s": _BUDGET_S})
        self.manifest = manifest = store.manifest(version)
        loaded = [open_shard(store, version, n) for n in range(len(manifest.shards))]
        counts = _counts(popularity, settings.trend_half_life_s)
        for shard in loaded:
            shard.tune(tuning)
            shard.count(counts)
        clients = [_Local(shard) for shard in loaded]
        self._shards = Shards(clients.__getitem__, lambda _: manifest.built_for.router)
        self._now = float(popularity.times.max()) if len(popularity) else 0.0

    def changed(self, **home: object) -> Offline:
        """Return the same version with other settings of the home scenario."""
        other = copy.copy(self)
        scenario = self._settings.scenarios["home"].model_copy(update=home)
        scenarios = {**self._settings.scenarios, "home": scenario}
        other._settings = self._settings.model_copy(update={"scenarios": scenarios})  # noqa: SLF001 - of this class
        return other

    def lists(self, holdout: Holdout, say: Callable[[int, int], None], k: int = DEPTH, **options: object) -> Ints:
        """Return the answers of `recommend_many` as (cases, 100) int64 item positions, padded with -1.

        `k`: items requested. `options` are fields of each RecQuery.
        """
        place = {item: i for i, item in enumerate(holdout.train.item_ids)}
        lists = np.full((holdout.cases, DEPTH), -1, np.int64)
        recommender = self._recommender(holdout)
        with _loop() as loop:
            for start, queries in self._batches(holdout, k, options):
                say(start, holdout.cases)
                slates = loop.run_until_complete(recommender.recommend_many(queries, self.serve))
                for case, slate in enumerate(slates, start):
                    if isinstance(slate, Exception):
                        raise slate
                    lists[case, : len(slate.items)] = [place[item.item_id] for item in slate.items]
        say(holdout.cases, holdout.cases)
        return lists

    def gathered(self, holdout: Holdout, k: int) -> Iterator[tuple[int, Gathered]]:
        """Yield for each batch its first case, and the candidates before ranking."""
        recommender = self._recommender(holdout)
        with _loop() as loop:
            for start, queries in self._batches(holdout, k, {}):
                gathered = loop.run_until_complete(recommender.gather(queries, self.serve))
                if gathered is not None:
                    yield start, gathered

    def _recommender(self, holdout: Holdout) -> Recommender:
        profiles = _Histories(self._shards, holdout, self._now, self._settings)
        facts = RequestFacts(users=_Users(holdout, self._known.users)) if self._known.users else None
        return Recommender(self._shards, profiles, self._settings, lambda: self._now, facts)

    def _batches(self, holdout: Holdout, k: int, options: dict[str, object]) -> Iterator[tuple[int, list[RecQuery]]]:
        size = self._settings.max_batch
        for start in range(0, holdout.cases, size):
            cases = range(start, min(start + size, holdout.cases))
            moments = [self._known.moment(holdout.histories.user_ids[c], holdout.target_ids(c)) for c in cases]
            yield (
                start,
                [
                    RecQuery(k=k, user_id=str(case), context=moment, **options)  # type: ignore[arg-type]
                    for case, moment in zip(cases, moments, strict=True)
                ],
            )


def _loop() -> closing[asyncio.AbstractEventLoop]:
    """Return one event loop for all batches. `asyncio.run` would cost half a second a batch: its signal handler formats
    the whole result.
    """
    return closing(asyncio.new_event_loop())


def _counts(data: Interactions, half_life_s: float) -> Counts:
    """Return likes and trends of the items, with one like for each user and item as in `state/item_counts.py`."""
    likes = data.counts()
    newest = float(data.times.max()) if len(data) else 0.0
    faded = data.weights * np.exp2((data.times - newest) / half_life_s)
    with np.errstate(divide="ignore"):
        trends = np.log2(np.bincount(data.items, faded, minlength=len(likes))) + newest / half_life_s
    return Counts(data.item_ids, likes, trends)
