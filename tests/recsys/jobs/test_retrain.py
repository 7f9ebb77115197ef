"""Learning anew from live histories: what is compared, what is published, and what again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.unattended import Retrain
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import Interaction, RecQuery
from recsys.encoders.catalogue import encode_all
from recsys.errors import TooFewEvents, VersionError
from recsys.evaluation.comparison import Exam
from recsys.evaluation.splits import Holdout, since, upcoming
from recsys.jobs.compact import compact
from recsys.jobs.retrain import Retrained, Retraining, foreseen, retrain, seen_until
from recsys.model.card import Comparison
from recsys.model.trained import Trained
from recsys.training.trainer import Trainer
from recsys.versions.build import Content
from recsys.versions.promotion import rollback
from recsys.versions.store import VersionStore
from tests.support.people import build, people, publish
from tests.support.world import NOW, World, catalogue, eventually

IDS = [item.item_id for item in catalogue()]
USERS = 50
SETTINGS = Serving(budget_s=20, retrain=Retrain(least_cases=20))


def case(users: int = 40) -> tuple[Holdout, Interactions]:
    """Everyone had item 0, and item 1 is to be foreseen."""
    names = [f"u{n}" for n in range(users)] * 2
    data = Interactions.of(names, ["a"] * users + ["b"] * users, [1.0] * users + [2.0] * users, catalogue=list("abc"))
    return since(data, 1.5), data


def judged(candidate: int, served: int, margin: float = 0.0) -> Comparison:
    """Of 40 cases, how many each version has right."""
    held, data = case()

    def lists(right: int) -> np.ndarray:
        return np.where(np.arange(40)[:, None] < right, [[1, 2]], [[2, -1]])

    return Exam(held, data, "v", "unseen", margin).compare(lists(candidate), lists(served), 1.0)


@pytest.mark.parametrize(
    ("candidate", "served", "margin", "publish"),
    [
        (30, 20, 0.0, True),
        (20, 20, 0.0, True),  # a tie: what is newer is served
        (19, 20, 0.0, False),
        (19, 20, 0.03, True),  # worse by 1/40
        (18, 20, 0.03, False),
        (0, 40, 0.5, False),
    ],
)
def test_what_is_worse_by_more_than_the_margin_is_not_published(candidate, served, margin, publish):
    found = judged(candidate, served, margin)
    assert found.publish is publish
    assert (found.candidate, found.served) == (candidate / 40, served / 40)
    assert found.low <= found.gap <= found.high
    assert ("not worse by" in found.reason) is publish


def test_the_interval_is_of_the_paired_difference():
    """Two versions that are right and wrong on the same cases differ by nothing, however few cases there are."""
    same, apart = judged(20, 20), judged(30, 20)
    assert (same.low, same.gap, same.high) == (0.0, 0.0, 0.0)
    assert apart.low > 0


def test_newest_events_are_those_of_the_last_times():
    data = people(20)
    cut = data.newest(30)
    assert len(cut) == 30
    assert cut.times.min() >= np.sort(data.times)[-30]
    assert (cut.lengths > 0).all()
    assert data.newest(10_000) is data


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """(build, texts, version that learned from the first ten events of everybody)."""
    made = build(VersionStore(tmp_path_factory.mktemp("versions")))
    texts = encode_all(made.encoder, catalogue())
    first = people(USERS)
    first = first.where(first.times < 10)
    served = publish(made, Trainer(made, Serving(), split=upcoming).train(catalogue(), texts, first))
    made.store.promote(served.version)
    return made, texts, served


def run(learned, data: Interactions, settings: Serving = SETTINGS) -> tuple[Comparison, Trained | None]:
    made, texts, served = learned
    return Retraining(made, settings).run(Content(catalogue(), base=served.version), texts, data, served)


def test_a_version_is_judged_by_events_that_it_has_not_seen(learned):
    """The served one knows events up to 9: those at 10 and 11 decide, though a share of 0.5 would reach further back.

    The candidate learned from the same and by the same seed, so it is no better and no worse.
    """
    assert seen_until(learned[2]) == 9.0
    settings = SETTINGS.model_copy(update={"retrain": Retrain(held_out=0.5, least_cases=20, margin=0.0)})
    found, model = run(learned, people(USERS), settings)
    assert (found.basis, found.since, found.cases, found.events) == ("unseen", 9.0, USERS, 2 * USERS)
    assert (found.publish, found.gap) == (True, 0.0)
    assert found.candidate > 0.5
    card = model.card
    assert (card.until, card.events, card.data_sha256) == (11.0, 12 * USERS, people(USERS).sha256())
    assert card.comparison == found


def test_what_learned_from_wrong_events_is_refused(learned):
    """Most users' items were exchanged, by whatever accident: the model that learns from them stays out."""
    data, rng = people(USERS), np.random.default_rng(3)
    wrong = data.owners >= 20
    items = np.where(wrong, rng.permutation(len(IDS))[data.items], data.items)
    data = replace(data, items=items).where(~wrong | (data.times < 10))
    found, model = run(learned, data)
    assert (found.publish, model) == (False, None)
    assert found.high < 0
    assert found.cases == 20


@pytest.mark.parametrize(
    ("before", "why"),
    [(10.0, "0 users who were known before .* up to which v.* has learned"), (0.0, "no event has a weight")],
)
def test_too_few_events_train_nothing(learned, before, why):
    """Said before a minute is spent."""
    data = people(USERS)
    with pytest.raises(TooFewEvents, match=why):
        run(learned, data.where(data.times < before))


def test_a_model_without_its_moment_is_taken_to_know_all_before_its_build(learned):
    """Versions that were trained before the newest event was noted."""
    served = learned[2]
    old = served.model_copy(update={"card": served.card.model_copy(update={"until": None})})
    assert seen_until(old) == served.created_at.timestamp()
    assert seen_until(served.model_copy(update={"card": None})) is None


async def tell(world: World, data: Interactions, start: int, end: int) -> None:
    """Record the events of these times."""
    rows = zip(data.owners.tolist(), data.items.tolist(), data.times.tolist(), strict=True)
    events = [
        Interaction(f"{u}-{t}", data.user_ids[u], data.item_ids[i], "like", NOW + 60 * t, None)
        for u, i, t in rows
        if start <= t < end
    ]
    for at in range(0, len(events), 500):
        await world.gateway.record(events[at : at + 500])


async def test_live_histories_become_the_served_version_and_are_taken_back(make_world, tmp_path, shared_valkey):
    """From events over the gateway to learned answers, again with newer events, not again without; then by rollback."""
    world: World = await make_world(data_dir=tmp_path)
    store, first = world.store, world.store.current()

    async def trained(**rules: Any) -> Retrained:
        settings = SETTINGS.model_copy(update={"retrain": Retrain(**({"least_cases": 20} | rules))})
        return await retrain(Config(world.platform, settings, ShardTuning()), shared_valkey.url)

    with pytest.raises(TooFewEvents, match="no event"):
        await trained()
    await tell(world, people(USERS), 0, 9)
    settings = SETTINGS.model_copy(update={"retrain": Retrain(least_cases=20)})
    planned = await foreseen(Config(world.platform, settings, ShardTuning()), shared_valkey.url)
    assert (planned.items, planned.users, planned.served) == (len(world.items), USERS, first)
    assert planned.cases >= 20
    assert store.current() == first
    assert len(store.versions()) == 1
    made = await trained()
    assert (made.comparison.cases, made.comparison.since) == (planned.cases, planned.since)
    assert made.manifest.version == store.current() != first
    assert (made.comparison.basis, made.comparison.served_version) == ("untrained", first)
    assert made.comparison.low > 0
    assert store.manifest(store.current()).card.comparison == made.comparison
    assert await eventually(lambda: world.follower.serve.version == made.manifest.version)
    slate = await world.gateway.recommend(RecQuery(k=3, user_id="u1", diversity=0.0))
    assert slate.model_version.startswith("learned")

    with pytest.raises(TooFewEvents, match="has learned"):
        await trained()
    await tell(world, people(USERS), 9, 12)
    again = await trained(margin=1.0)
    assert (again.comparison.basis, again.comparison.served_version) == ("unseen", made.manifest.version)
    assert again.manifest.card.until == NOW + 60 * 11
    compacted = await compact(Config(world.platform, Serving(), ShardTuning()), shared_valkey.url, then_promote=True)
    assert compacted.card == again.manifest.card  # what was learned and how it compared goes on
    await rollback(store, world.platform)
    assert (await rollback(store, world.platform)).version == made.manifest.version
    assert await eventually(lambda: world.follower.serve.version == made.manifest.version)


async def test_another_encoder_is_to_be_built_first(make_world, tmp_path, shared_valkey):
    """And the served version stays, as it does when another was promoted while the training ran."""
    world: World = await make_world(data_dir=tmp_path)
    current = world.store.current()
    other = world.platform.model_copy(update={"encoder": EncoderSpec(kind="hashing", dimension=16)})
    with pytest.raises(VersionError, match="another encoder"):
        await retrain(Config(other, SETTINGS, ShardTuning()), shared_valkey.url)
    made = world.publish(world.items[1:])
    with pytest.raises(VersionError, match="was made to follow v1, and"):
        world.store.promote(made.version, instead_of="v1")
    assert world.store.current() == current
