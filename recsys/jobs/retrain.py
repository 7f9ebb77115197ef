"""Retraining from the live platform's histories. The result is served only if it is not worse.

The newest events, all those after one moment, are held out. The candidate learns from the events before it, and both
versions predict, through `recommend_many`, the events after it. The served version must not have learned from those
either, or it would be favoured: the moment is never before the newest event that it learned from. Both versions rank
today's catalogue, as a replica does with the log applied. The published model then learns from all events, with the
candidate's parameters.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from redis.asyncio import Redis

from recsys.config.serving import Serving
from recsys.config.unattended import Retrain
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import Floats
from recsys.encoders.base import Encoder
from recsys.encoders.catalogue import Progress, encode_all
from recsys.errors import TooFewEvents, VersionError
from recsys.evaluation.comparison import Exam
from recsys.evaluation.metrics import Ints
from recsys.evaluation.splits import Holdout, Split, since, upcoming
from recsys.evaluation.trial import trial
from recsys.jobs.canary import begin
from recsys.jobs.live_events import live_lessons
from recsys.jobs.patient_redis import patient_redis
from recsys.jobs.promote import settle
from recsys.model.card import Comparison
from recsys.model.trained import Trained
from recsys.ranking.known_features import NOTHING, Known
from recsys.training.trainer import Trainer
from recsys.versions.build import Build, Content, by_text
from recsys.versions.contents import forget_cut, live_content
from recsys.versions.manifest import Manifest
from recsys.versions.model_files import read_model
from recsys.versions.prerequisites import check_room
from recsys.versions.promotion import refuse_shrunken
from recsys.versions.store import VersionStore

_JUDGED = 2000
"""Most cases that are compared: the standard error of their NDCG@10 is 0.005."""
_SHOWN = 10
"""Items that are requested: NDCG@10 uses no more."""


@dataclass(frozen=True, slots=True)
class Retrained:
    """The outcome of a retraining."""

    manifest: Manifest | None
    """The new version, which is served. None: the old one was better and stays."""
    comparison: Comparison

    @property
    def result(self) -> str:
        """The outcome in one line."""
        if self.manifest is None:
            return f"{self.comparison.served_version} stays: {self.comparison.reason}"
        return f"serving {self.manifest.version}: {self.comparison.reason}"


@dataclass(frozen=True, slots=True)
class Retraining:
    """A retraining. `build.store` holds the served version. `split` separates the validation set, on which
    hyperparameters are chosen.
    """

    build: Build
    settings: Serving
    seed: int = 7
    split: Split = upcoming
    known: Known = NOTHING
    """What there is beside events."""

    def run(
        self, content: Content, texts: Floats, data: Interactions, served: Manifest, say: Progress = lambda *_: None
    ) -> tuple[Comparison, Trained | None]:
        """Return the comparison with the `served` version and a model of all `data`, or None if it is not published.

        `data` has the item ids of `content`, in their order. `texts`: the items' (I, d) unit vectors. Raises
        TooFewEvents, before anything is trained, when there are too few cases to compare.
        """
        start = time.perf_counter()
        exam = exam_of(data, served, self.settings.retrain)
        trainer = Trainer(self.build, self.settings, self.seed, self.split, known=self.known)
        candidate = trainer.train(content.items, texts, exam.holdout.train, say)
        exam = exam.sample(_JUDGED, self.seed)
        lists = self._lists(candidate, content, exam.holdout, say, 0)
        before = self._lists(read_model(self.build.store, served), content, exam.holdout, say, 1)
        comparison = exam.compare(lists, before, time.perf_counter() - start, self.seed)
        if not comparison.publish:
            return comparison, None
        model = trainer.refit(candidate, texts, data, say)
        learned_from = {
            "data_sha256": comparison.data_sha256,
            "users": data.users,
            "events": len(data),
            "until": data.until,
            "seconds": round(time.perf_counter() - start, 1),
            "comparison": comparison,
        }
        return comparison, replace(model, card=candidate.card.model_copy(update=learned_from))

    def _lists(self, model: Trained | None, content: Content, holdout: Holdout, say: Progress, number: int) -> Ints:
        with trial(self.build, content, model, holdout.train, self.settings, self.known) as offline:
            done = number * holdout.cases
            return offline.lists(holdout, lambda now, _: say("compare", done + now, 2 * holdout.cases), k=_SHOWN)


def exam_of(data: Interactions, served: Manifest, rules: Retrain) -> Exam:
    """Return the exam on the newest share of the events that the served version cannot have learned from.

    Raises TooFewEvents when fewer than `least_cases` users have such events.
    """
    if not len(data):
        raise TooFewEvents("nothing was trained: no event has a weight; see event_types in the config file")
    moment, until = float(np.quantile(data.times, 1.0 - rules.held_out)), seen_until(served)
    if moment == data.until:  # times are coarse, such as days: hold out all events of the newest one
        moment = float(data.times[data.times < data.until].max(initial=0.0))
    why = ""
    if until is not None and until >= moment:
        moment, why = until, f", up to which {served.version} has learned"
    holdout = since(data, moment)
    if holdout.cases < rules.least_cases:
        when = datetime.fromtimestamp(moment, UTC)
        raise TooFewEvents(
            f"nothing was trained: {holdout.cases} users who were known before {when:%Y-%m-%d %H:%M:%S} UTC{why} have "
            f"new events since, and {rules.least_cases} are needed to compare (retrain.least_cases)"
        )
    basis: Literal["unseen", "untrained"] = "untrained" if until is None else "unseen"
    return Exam(holdout, data, served.version, basis, rules.margin)


def seen_until(served: Manifest) -> float | None:
    """Return the Unix seconds of the newest event that a version can have learned from. None: it was not trained."""
    if served.card is None:
        return None
    return served.created_at.timestamp() if served.card.until is None else served.card.until


@dataclass(frozen=True, slots=True)
class PlannedRetraining:
    """The data that a retraining would learn from, and the cases it would be judged by."""

    items: int
    users: int
    events: int
    """Likes of these users, including those that are held out."""
    served: str
    """The version that it would be compared with."""
    cases: int
    """Users whose newest events are held out."""
    since: float
    """Unix seconds of the first event that is held out."""


@dataclass(frozen=True, slots=True)
class _Live:
    """The platform as it is now, to learn from."""

    content: Content
    served: Manifest
    data: Interactions
    known: Known

    @classmethod
    async def of(cls, build: Build, config: Config, redis: Redis, say: Progress) -> _Live:
        """Raises what ends a retraining before anything is encoded or trained."""
        platform, store = config.platform, build.store
        forget_cut(store)
        content = await live_content(store, redis, platform, build.encoder.fingerprint, say)
        forget_cut(store)  # an interrupted training starts again, and a rebuild cuts the log anew
        refuse_shrunken(store, len(content.items))
        served = _served(store, content, build.encoder)
        ids = [item.item_id for item in content.items]
        data, known = await live_lessons(redis, config, ids, say)
        return cls(content, served, data, known)


async def retrain(
    config: Config,
    redis_url: str,
    say: Progress = lambda *_: None,
    *,
    seed: int = 7,
    split: Split = upcoming,
) -> Retrained:
    """Train and compare. If the comparison allows it, build the live catalogue, promote it, and prune old versions.

    No other build runs meanwhile. Raises TooFewEvents; VersionError when no version is served, another one was promoted
    meanwhile, or the config file names another encoder; Unavailable when Redis does not answer. In each case the served
    version stays.
    """
    platform, serving, store = config.platform, config.serving, VersionStore.of(config.platform)
    async with patient_redis(redis_url, platform, "start the same training again") as redis:
        with store.drafts.alone():
            build = await asyncio.to_thread(Build.of, config, say)
            live = await _Live.of(build, config, redis, say)
            exam_of(live.data, live.served, serving.retrain)  # raise for too few events before anything is encoded
            check_room(platform, store.root, len(live.content.items), training=True)
            texts = await asyncio.to_thread(_texts, live.content, build.encoder, say)
            content = replace(live.content, encoded=by_text(live.content.items, texts), histories=live.data)
            work = Retraining(build, serving, seed, split, live.known)
            comparison, trained = await asyncio.to_thread(work.run, content, texts, live.data, live.served, say)
            if trained is None:
                return Retrained(None, comparison)
            manifest = await asyncio.to_thread(build.publish, content, say, trained)
        slowly = serving.retrain.canary
        await settle(store, manifest, platform, redis, instead_of=live.served.version, then_promote=not slowly)
        if slowly:
            await begin(store, manifest.version, platform, redis, serving.canary)
        return Retrained(manifest, comparison)


async def foreseen(config: Config, redis_url: str, say: Progress = lambda *_: None) -> PlannedRetraining:
    """Return what `retrain` would learn from and be judged by, and train nothing. Raises as `retrain` does."""
    store = VersionStore.of(config.platform)
    async with patient_redis(redis_url, config.platform, "start the same again") as redis:
        with store.drafts.alone():
            build = await asyncio.to_thread(Build.of, config, say)
            live = await _Live.of(build, config, redis, say)
    exam = exam_of(live.data, live.served, config.serving.retrain)
    check_room(config.platform, store.root, len(live.content.items), training=True)
    return PlannedRetraining(
        len(live.content.items),
        live.data.users,
        len(live.data),
        live.served.version,
        exam.holdout.cases,
        float(exam.holdout.now[0]),
    )


def _served(store: VersionStore, content: Content, encoder: Encoder) -> Manifest:
    served = store.manifest(content.base or "")
    if served.fingerprint != encoder.fingerprint:
        raise VersionError(
            f"version {served.version} is of another encoder than the config file names; build with --from-live first"
        )
    return served


def _texts(content: Content, encoder: Encoder, say: Progress) -> Floats:
    """Return the (n, d) float32 vectors of the items. Texts that have a vector are not encoded again."""
    new = [item for item in content.items if item.passage() not in content.encoded]
    vectors = {**content.encoded, **by_text(new, encode_all(encoder, new, say))}
    texts = np.zeros((len(content.items), encoder.dimension), np.float32)
    for line, item in enumerate(content.items):
        texts[line] = vectors[item.passage()]
    return texts
