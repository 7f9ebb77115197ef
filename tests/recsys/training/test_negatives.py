"""Dislikes are learned from only where validation surely gains by it; else the model is that of the likes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.data.dislikes import Dislikes
from recsys.datatypes import item_keys
from recsys.evaluation.splits import Holdout
from recsys.model.attention import Attention
from recsys.model.card import Negatives
from recsys.training import trainer
from recsys.training.negatives import judge
from tests.support.people import people
from tests.support.world import TOPICS, catalogue

DISLIKED = [f"{topic}-10" for topic in TOPICS]


@pytest.fixture(scope="module")
def cases(lesson) -> Holdout:
    """Those with nothing of DISLIKED in them. Their users dislike all of it, after what was learned from."""
    held: Holdout = lesson.held
    ids = np.array(held.train.item_ids)
    free = [
        case
        for case in range(held.cases)
        if not {*ids[held.histories.of_user(case)], *held.target_ids(case)} & {*DISLIKED}
    ]
    chosen = held.select(np.array(free))
    against = np.flatnonzero(np.isin(ids, DISLIKED))
    offsets, count = np.arange(chosen.cases + 1) * len(against), chosen.cases
    return replace(chosen, disliked=Dislikes(offsets, np.tile(against, count), np.full(count * len(against), 1e9)))


def without(network: Attention, items: list[str]) -> Attention:
    """The network as if it had never heard of some items."""
    keep = ~np.isin(network.keys, item_keys(items))
    return replace(network, keys=network.keys[keep], items=network.items[keep])


def test_what_keeps_dislikes_out_of_the_lists_is_learned_from(lesson, cases) -> None:
    """Unless NDCG@10 is lower with it; and what brings them in is not."""
    plain = lesson.model.attention
    clean = without(plain, DISLIKED)
    judged = judge(clean, plain, cases)
    assert (judged.used, judged.gap >= 0, judged.shown < 0) == (True, True, True)
    assert judged.reason.startswith("they surely keep dislikes out")
    assert not judge(plain, clean, cases).used
    poor = without(plain, [*DISLIKED, *(f"{topic}-{n}" for topic in TOPICS for n in (5, 6, 7))])
    judged = judge(poor, plain, cases)
    assert (judged.used, judged.gap < 0, judged.shown < 0) == (False, True, True)
    assert judged.reason.endswith("but NDCG@10 is lower with them")


def test_what_ranks_better_is_learned_from(lesson, cases) -> None:
    """And what makes no difference is not, nor what cannot be compared."""
    good = lesson.model.attention
    bad = replace(good, items=np.roll(good.items, 1, axis=0))
    judged = judge(good, bad, cases)
    assert (judged.used, judged.reason) == (True, "NDCG@10 is surely higher with them")
    assert judged.gap > 1.64 * judged.gap_error > 0
    assert not judge(bad, good, cases).used
    same = judge(good, good, cases)
    assert (same.used, same.gap, same.shown) == (False, 0.0, 0.0)
    assert not judge(None, good, cases).used
    assert not judge(good, good, cases.select(np.zeros(0, np.int64))).used


def test_what_was_disliked_before_does_not_count(lesson, cases) -> None:
    """The networks have learned from it, and answers leave it out."""
    train = cases.train
    against = np.flatnonzero(np.isin(np.array(train.item_ids), DISLIKED))
    offsets = np.arange(train.users + 1) * len(against)
    told = Dislikes(offsets, np.tile(against, train.users), np.zeros(train.users * len(against)))
    learned = replace(cases, train=replace(train, disliked=told))
    plain = lesson.model.attention
    assert judge(without(plain, DISLIKED), plain, learned).shown == 0.0


def test_dislikes_that_are_worth_nothing_change_nothing(lesson, monkeypatch) -> None:
    """The model is that of the likes, in training and when it learns again; the card says why. Where they are used it
    is another one.
    """
    train, rng = lesson.held.train, np.random.default_rng(3)
    against = rng.integers(0, len(train.item_ids), train.users)
    told = replace(train, disliked=Dislikes(np.arange(train.users + 1), against, np.full(train.users, 4.0)))
    model = lesson.trainer.train(catalogue(), lesson.texts, told)
    assert model.card.negatives is not None
    assert not model.card.negatives.used
    assert model.card.data_sha256 == told.sha256() != lesson.model.card.data_sha256
    np.testing.assert_array_equal(model.attention.items, lesson.model.attention.items)
    assert (model.weights, model.ranker) == (lesson.model.weights, lesson.model.ranker)
    more = people(160, seed=2)
    more = replace(more, disliked=Dislikes(np.arange(161), rng.integers(0, 48, 160), np.full(160, 4.0)))
    likes = replace(more, disliked=None)
    again, plain = (lesson.trainer.refit(model, lesson.texts, data) for data in (more, likes))
    np.testing.assert_array_equal(again.attention.items, plain.attention.items)
    used = Negatives(used=True, reason="", gap=0, gap_error=0, shown=0, shown_error=0)
    monkeypatch.setattr(trainer, "judge", lambda *_: used)
    taught = replace(lesson.trainer, rank=False).train(catalogue(), lesson.texts, told)
    assert taught.card.negatives == used
    assert not np.array_equal(taught.attention.items, model.attention.items)
    again = lesson.trainer.refit(taught, lesson.texts, more)
    assert not np.array_equal(again.attention.items, plain.attention.items)
