"""Keywords of candidates against those of the last likes, by hand, through a version, and where it is chosen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from recsys.datatypes import Item, item_keys
from recsys.model.keywords import HALF_LIFE, Traits, keyword_table
from recsys.model.learned import Learned
from recsys.model.neighbour_rows import Links
from recsys.model.trained import looks_at
from recsys.ranking.signals import SIGNALS
from recsys.training.blend import START, blended, choose_weights
from recsys.training.case_table import CaseTable
from recsys.versions.model_files import read_model
from recsys.versions.opening import open_shard
from tests.support.people import people, publish
from tests.support.world import ATTRIBUTES, catalogue

KINDS = {"genres": "keyword[]", "maker": "keyword", "year": "number"}
FILMS = [
    Item("a", attributes={"genres": ["war", "love"], "maker": "Ford"}),
    Item("b", attributes={"genres": ["love"], "maker": "Ford", "year": 1990.0}),
    Item("c", attributes={"genres": ["war", "sea"]}),
    Item("d", attributes={"maker": "Lang"}),
    Item("e"),
    Item("f", attributes={"genres": "love", "maker": ["Ford", "Ford"]}),
]


def links(items: int) -> Links:
    import scipy.sparse as sp  # noqa: PLC0415

    return Links(np.sort(item_keys(f"i{n}" for n in range(items))), *(sp.csr_array((items, items)) for _ in range(2)))


def test_rare_keywords_count_more_and_lonely_ones_nothing():
    """love 3 of 6, Ford 3 of 6, war 2 of 6; sea and Lang are of one film each, and a year is no keyword."""
    table = keyword_table(FILMS, KINDS.items()).toarray()
    assert table.shape == (6, 3)  # in order: love, war of genres; Ford of maker
    love, war, ford = math.log(2), math.log(3), math.log(2)
    rows = [[love, war, ford], [love, 0, ford], [0, war, 0], [0, 0, 0], [0, 0, 0], [love, 0, ford]]
    for made, right in zip(table, rows, strict=True):
        np.testing.assert_allclose(made, np.array(right) / (np.linalg.norm(right) or 1.0), rtol=1e-5)


def test_what_all_have_and_no_items_at_all():
    same = [Item(str(n), attributes={"maker": "Ford"}) for n in range(4)]
    assert keyword_table(same, KINDS.items()).nnz == 0
    assert keyword_table([], KINDS.items()).shape == (0, 0)


def test_scores_are_cosines_to_faded_likes():
    """Two requests; the second likes nothing that has keywords. What came later scores 0, and so does film d."""
    table = keyword_table(FILMS, KINDS.items())
    at = links(len(FILMS))
    keys = at.sources
    trail, weights = np.array([keys[2], keys[1], 12345, keys[3]], np.uint64), np.array([1.0, 2.0, 1.0, 1.0], np.float32)
    likes = at.likes(trail, np.array([0, 3, 4]), weights)
    traits = Traits(table, np.array([4, 0, 3, 5]))
    found = traits.scores(
        likes.faded(0.5 ** (1 / HALF_LIFE)), np.array([0, 0, 0, 0, 0, 1]), np.array([0, 1, 2, 3, -1, 1])
    )
    taste = table[[2]].toarray()[0] + 2.0 * 0.5 ** (1 / HALF_LIFE) * table[[1]].toarray()[0]
    cosine = table.toarray() @ (taste / np.linalg.norm(taste))
    np.testing.assert_allclose(found, [0, cosine[0], 0, cosine[5], 0, 0], atol=1e-6)
    assert 0.5 < cosine[0] <= 1.0


def test_a_shard_without_items_of_the_version_scores_late_ones_0():
    traits = Traits(keyword_table(FILMS, KINDS.items()), np.zeros(0, np.int64))
    at = links(len(FILMS))
    likes = at.likes(at.sources[:1], np.array([0, 1]), np.ones(1, np.float32))
    none = np.zeros((0, 4), np.float32)
    learned = Learned(none, none, none, 4.0, at, None, np.zeros(0, np.int64), traits)
    assert learned.alike(likes, np.zeros(2, np.int64), np.array([-1, -1])).tolist() == [0.0, 0.0]
    assert replace(learned, traits=None).alike(likes, np.zeros(1, np.int64), np.array([-1])).tolist() == [0.0]


def test_every_shard_of_a_version_knows_the_keywords_of_all_its_items(lesson):
    """After a like of an item of the other shard, too, in a version of its own and in the one built of that."""
    made, model, films = lesson.build, lesson.model, catalogue()
    table = keyword_table(films, ATTRIBUTES.items())
    row = {item.item_id: n for n, item in enumerate(films)}
    liked = films[0].item_id
    right = (table @ table[[row[liked]]].T).toarray()[:, 0]
    assert 0 < (right > 0.5).sum() < len(films)
    first = publish(made, replace(model, keywords=True, weights=model.weights | {"affinity": 0.1}))
    second = publish(made, read_model(made.store, first))
    for version in (first.version, second.version):
        for number in range(2):
            items = open_shard(made.store, version, number).items
            rows = items.live_rows()
            likes = items.learned.links.likes(item_keys([liked]), np.array([0, 1]), np.ones(1, np.float32))
            scores = items.learned.alike(likes, np.zeros(len(rows), np.int64), items.slots.view[rows])
            expected = [right[row[items.ids[int(r)]]] for r in rows]
            np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(("weight", "ranker", "kept"), [(0.0, None, False), (0.0, "trees", True), (0.1, None, True)])
def test_keywords_are_kept_for_those_who_look_at_them(lesson, weight, ranker, kept):
    weights = lesson.model.weights | {"affinity": weight}
    assert looks_at("affinity", weights, ranker) == kept
    chosen = replace(lesson.model, weights=weights, ranker=ranker)
    assert lesson.trainer.refit(chosen, lesson.texts, people(40)).keywords == kept


def test_the_blend_gives_it_a_weight_where_it_decides():
    """Of ten candidates that taste cannot tell apart, the one with the likes' keywords is taken."""
    rng = np.random.default_rng(1)
    signals = np.zeros((1000, len(SIGNALS)), np.float32)
    signals[:, list(SIGNALS).index("taste")] = rng.random(1000) * 0.02
    column = list(SIGNALS).index("affinity")
    signals[:, column] = rng.random(1000)
    hit = (signals[:, column].reshape(100, 10) == signals[:, column].reshape(100, 10).max(axis=1)[:, None]).ravel()
    known = np.ones(100, np.float32)
    table = CaseTable(signals, hit, np.arange(0, 1001, 10), known, known, np.ones(1000, np.int64), np.arange(100), 100)
    weights = choose_weights(table)
    assert weights["affinity"] > 0
    assert table.mean(blended(table, weights)) > 0.9 > table.mean(blended(table, START))
